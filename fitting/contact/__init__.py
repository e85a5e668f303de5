"""Where a body goes through itself: pairs of triangles that cross, and vertices that lie inside another part."""

from fitting.contact.depth import Buried, find_buried
from fitting.contact.masks import JOINED, Mask, make_mask, read_parts, with_parts
from fitting.contact.pairs import crossing_pairs

__all__ = [
    "JOINED",
    "Buried",
    "Mask",
    "crossing_pairs",
    "find_buried",
    "make_mask",
    "read_parts",
    "with_parts",
]
