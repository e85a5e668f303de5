"""Parameters out, in the formats of those who train on them: one file = one format = one line in `EXPORTS`.

An export writes a `Track` whose frames are all filled and settled in Keyfit's world; see `target.Export` for what it
asks for. Files appear whole or not at all.
"""

from collections.abc import Mapping

from fitting.exports import (
    amass,
    deca,
    flame_params,
    gaussian_avatars,
    humandata,
    imavatar,
    params,
    smplifyx,
    spin,
    talking_gaussian,
    vhap,
)
from fitting.exports.flame_params import destination
from fitting.exports.from_solution import decoding_body, track_of
from fitting.exports.target import Export, Target

EXPORTS: Mapping[str, Export] = {
    "flame_params": flame_params.EXPORT,
    "params": params.EXPORT,
    "deca": deca.EXPORT,
    "imavatar": imavatar.EXPORT,
    "vhap": vhap.EXPORT,
    "gaussian_avatars": gaussian_avatars.EXPORT,
    "talking_gaussian": talking_gaussian.EXPORT,
    "smplifyx": smplifyx.EXPORT,
    "spin": spin.EXPORT,
    "humandata": humandata.EXPORT,
    "amass": amass.EXPORT,
}

__all__ = ["EXPORTS", "Export", "Target", "decoding_body", "destination", "track_of"]
