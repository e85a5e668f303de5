"""Results that nobody should take for a fit: the solver has come to rest, or to its limit, far from the landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.problem import Problem
from fitting.types import Parameters, Stop

FAR = 5.0  # sigmas of a keypoint; noise as large as believed leaves half of them within 1.2


def name_stagnation(problem: Problem, result: Parameters, stop: Sequence[Stop]) -> list[Stop]:
    """The reason to stop, replaced where half of a problem's keypoints are further than `FAR` from where they were
    seen: a gross minority is an outlier's business, not the whole fit's."""
    far = (typical_distance(problem, result) > FAR).tolist()
    ended = (Stop.CONVERGED, Stop.MAX_ITERATIONS, Stop.NO_DESCENT)
    return [Stop.STAGNATED if f and s in ended else s for f, s in zip(far, stop, strict=True)]


def typical_distance(problem: Problem, parameters: Parameters) -> Float[Tensor, " problems"]:
    """Median over a problem's seen keypoints, in sigmas, of a long clip the median of its windows' medians; 0 where no
    term looks at keypoints."""
    term = problem.terms.get("keypoints")
    if term is None:
        return problem.K.new_zeros(problem.count)
    medians = []
    for window in problem.windows():
        part = problem.during(window).only({"keypoints": term})
        with torch.no_grad():
            residuals = term.residuals(part.scene(parameters.at(window)))
        assert residuals is not None and residuals.confidence is not None
        distance = residuals.values.norm(dim=-1) / term.sigma
        seen = torch.where(residuals.confidence > 0, distance, torch.nan)
        medians.append(seen.flatten(1).nanmedian(dim=1).values)
    return torch.stack(medians, dim=1).nanmedian(dim=1).values.nan_to_num()
