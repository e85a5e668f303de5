"""Where a body goes through itself: pairs of triangles that cross, and vertices that lie inside another part."""

from fitting.contact.bones import Crossed, find_crossed, hanging_on
from fitting.contact.depth import Buried, find_buried
from fitting.contact.masks import JOINED, Mask, make_mask, read_parts, with_parts
from fitting.contact.pairs import crossing_pairs
from fitting.contact.stages import with_contact

__all__ = [
    "JOINED",
    "Buried",
    "Crossed",
    "Mask",
    "crossing_pairs",
    "find_buried",
    "find_crossed",
    "hanging_on",
    "make_mask",
    "read_parts",
    "with_contact",
    "with_parts",
]
