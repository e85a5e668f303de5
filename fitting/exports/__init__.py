"""Parameters out, in the formats of those who train on them: one file = one format = one line in `EXPORTS`.

An export writes a `Track` whose frames are all filled and settled in Keyfit's world; see `target.Export` for what it
asks for. Files appear whole or not at all.
"""

from collections.abc import Mapping

from fitting.exports import flame_params, params
from fitting.exports.target import Export, Target

EXPORTS: Mapping[str, Export] = {
    "flame_params": flame_params.EXPORT,
    "params": params.EXPORT,
}

__all__ = ["EXPORTS", "Export", "Target"]
