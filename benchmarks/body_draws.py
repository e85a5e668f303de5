"""People drawn from a recipe's own beliefs, alone or in motion, and what a detector would have seen of them.

Beliefs about rotations hang together (upright looks at pelvis and spine, a clip's smoothness at all frames), so these
are drawn by Hamiltonian Monte Carlo (Duane et al., 1987; Neal, arXiv:1206.1901) from the objective itself, keypoints
left out. Rotations are counted by Haar's measure.
"""

from __future__ import annotations

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.draws import Noise, course, draw_expression, draw_jaw, sway, white_sd
from fitting.camera import camera_to_pixels, intrinsics, world_to_camera
from fitting.curvature import LeastSquares
from fitting.evidence import embedded_points
from fitting.problem import Problem
from fitting.solvers import Arrow
from fitting.terms import Evidence, Terms
from fitting.terms.anchor import Anchor
from fitting.types import Body, Layout, Observations, Parameters

SIZE, FOCAL, DISTANCE, FPS = (1280, 1280), 1500.0, 4.0, 30.0  # pixels, pixels, metres, frames per second
PLACE_SD = 0.3  # metres; nothing is believed about where a person is
DRAWN = ("global_orient", "body_pose", "transl")  # by Monte Carlo
HAND_SIZE = 45
TRAJECTORIES, LEAPS, LEAP = 40, 10, 0.15  # each trajectory is 1.5 standard deviations long
LOOSE = 0.01  # curvature per natural step squared of directions that nothing holds: they are drawn from a radian wide
HIDDEN = ("left_pupil", "right_pupil")  # bodies' eyes are held at rest


def draw_people(
    body: Body, terms: Terms, layout: Layout, people: int, frames: int, rng: np.random.Generator
) -> Parameters:
    """(people, frames), float64; each of one shape. One frame: photos."""
    return draw_poses(body, terms, layout, draw_unposed(body, terms, people, frames, rng), rng)


def draw_unposed(body: Body, terms: Terms, people: int, frames: int, rng: np.random.Generator) -> Parameters:
    """Shape, face and fingers of people who stand nowhere yet, in no pose."""
    sizes = {block.name: block.size for block in body.blocks}
    neutral = body.neutral(people, frames).to(torch.zeros(0, dtype=torch.float64))
    spread = terms.expression.sigma * body.expression_sd.numpy() if terms.expression else np.zeros(sizes["expression"])
    rows = {
        "betas": rng.normal(0, terms.shape.sigma if terms.shape else 0.0, (people, 1, sizes["betas"])),
        "expression": np.stack([draw_expression(body, terms, spread, frames, rng) for _ in range(people)]),
    }
    turned = {"jaw_pose": np.stack([draw_jaw(terms, frames, rng) for _ in range(people)])}
    for name in ("left_hand_pose", "right_hand_pose"):
        spread = np.full(HAND_SIZE, terms.hands.sigma if terms.hands else 0.0)
        moved = np.stack([course(frames, spread, sway(terms, name), rng) for _ in range(people)])
        turned[name] = moved + body.pose_priors[name].means[0].double().numpy()
    truth = {name: torch.as_tensor(values) for name, values in rows.items()}
    truth |= {n: roma.rotvec_to_rotmat(torch.as_tensor(v).unflatten(-1, (-1, 3))) for n, v in turned.items()}
    return neutral.replace(truth)


def draw_poses(body: Body, terms: Terms, layout: Layout, people: Parameters, rng: np.random.Generator) -> Parameters:
    """The same people, each somewhere else, turned any way and posed as is believed."""
    count, frames = people["transl"].shape[:2]
    mean = body.pose_priors["learned"].means[0].double()
    pose = roma.rotvec_to_rotmat(mean.unflatten(0, (-1, 3))).expand(count, frames, -1, 3, 3)
    facing = torch.zeros(count, 1, 1, 3, dtype=torch.float64)
    facing[..., 1] = torch.as_tensor(rng.uniform(-np.pi, np.pi, (count, 1, 1)))
    place = torch.tensor([0.0, 0.0, -DISTANCE]).double() - body.pose(body.neutral(1, 1)).joints[0, 0].double().mean(0)
    begin = people.replace(
        {
            "global_orient": roma.rotvec_to_rotmat(facing).expand(-1, frames, -1, 3, 3),
            "body_pose": pose,
            "transl": place.expand(count, frames, 3).clone(),
        }
    )
    problem = beliefs_alone(body, terms, layout, begin)
    return problem.retract(wander(problem, rng))


def beliefs_alone(body: Body, terms: Terms, layout: Layout, begin: Parameters) -> Problem:
    """What is believed of `DRAWN` where all of a person is seen; keypoints themselves say nothing."""
    count, frames = begin["transl"].shape[:2]
    embedding = body.embedding_of(layout)
    assert embedding is not None
    like = begin["transl"]
    points = torch.as_tensor(embedded_points(embedding))
    seen = torch.ones(count, frames, dtype=torch.bool)
    evidence = Evidence(
        layout=layout,
        points=points,
        keypoints=like.new_zeros(count, frames, len(points), 2),
        confidence=like.new_ones(count, frames, len(points)),
        subject_px=like.new_ones(count, frames),
        seen=seen,
        linked=seen[:, 1:],
        fps=FPS,
    )
    kept = {
        name: term
        for name, term in terms.settled(evidence).named().items()
        if term.structure != "pixels" and (term.structure in ("stencil", "motion") or set(term.reads) & set(DRAWN))
    }
    kept = {n: t.model_copy(update={"kernel": "squared"}) for n, t in kept.items()}
    kept["anchor"] = Anchor(blocks={"transl": PLACE_SD})
    return Problem(
        body=body.restrict(embedding).to(like),
        yard_stick=1.0,
        evidence=evidence,
        K=torch.eye(3).to(like).expand(count, frames, 3, 3),
        terms=kept,
        start=begin,
        base=begin.replace({"focal": like.new_zeros(1, 1, 1)}),
        free=tuple(block for block in body.blocks if block.name in DRAWN),
    )


def wander(problem: Problem, rng: np.random.Generator) -> Float[Tensor, "problems unknowns"]:
    """A draw from exp(-objective), problem by problem: trajectories in coordinates that the curvature at the start
    makes round."""
    every = torch.arange(problem.count)
    precision = whole_matrix(LeastSquares(problem).curvature(problem.zero(), every))
    precision.diagonal(dim1=-2, dim2=-1).add_(LOOSE)
    factor = torch.linalg.cholesky(precision)

    def normal() -> Tensor:
        return torch.as_tensor(rng.standard_normal((problem.count, problem.size)))

    def evaluate(y: Tensor) -> tuple[Tensor, Tensor]:
        """Energy and its slope, by round coordinates."""
        x = torch.linalg.solve_triangular(factor.mT, y[..., None], upper=True)[..., 0]
        energy, slope = problem.evaluate(x, every)
        volume, push = haar(problem, x)
        slope = torch.linalg.solve_triangular(factor, (slope - push)[..., None], upper=False)[..., 0]
        return energy - volume, slope

    y = normal()
    energy, slope = evaluate(y)
    for _ in range(TRAJECTORIES):
        momentum = normal()
        here, force, kinetic = y, slope, 0.5 * momentum.square().sum(dim=1)
        leap = LEAP * rng.uniform(0.7, 1.3)
        for _ in range(LEAPS):
            momentum = momentum - 0.5 * leap * force
            here = here + leap * momentum
            reached, force = evaluate(here)
            momentum = momentum - 0.5 * leap * force
        risen = reached + 0.5 * momentum.square().sum(dim=1) - energy - kinetic
        taken = torch.as_tensor(rng.uniform(size=problem.count)).log() < -risen
        y, slope = (torch.where(taken[:, None], new, old) for new, old in ((here, y), (force, slope)))
        energy = torch.where(taken, reached, energy)
    return torch.linalg.solve_triangular(factor.mT, y[..., None], upper=True)[..., 0]


def haar(problem: Problem, x: Float[Tensor, "problems unknowns"]) -> tuple[Tensor, Tensor]:
    """Logarithm of the volume of rotations per volume of rotation vectors, 2 (1 - cos a) / a^2 per joint, and its
    slope."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        own = at.unflatten(1, (problem.frames, -1))
        total = at.new_zeros(len(x))
        for block in problem.free:
            if block.kind == "rotation":
                turns = (own[..., problem.local[block.name]] * block.unit).unflatten(-1, (-1, 3))
                half = (0.25 * turns.square().sum(dim=-1) + 1e-12).sqrt()
                total = total + 2 * (half.sin().abs() / half).log().flatten(1).sum(dim=1)
        (slope,) = torch.autograd.grad(total.sum(), at)
    return total.detach(), slope


def whole_matrix(arrow: Arrow) -> Float[Tensor, "problems unknowns unknowns"]:
    """Of an arrow without shared unknowns, in one window."""
    window = slice(0, arrow.frames)
    own, links = arrow.blocks(window).own.double(), arrow.links(window)
    n = arrow.width
    found = own.new_zeros(len(own), arrow.frames, n, arrow.frames, n)
    near, far = (torch.diag_embed(band) for band in (links.near, links.far))
    if links.near_blocks is not None and links.far_blocks is not None:
        near, far = near + links.near_blocks, far + links.far_blocks
    for t in range(arrow.frames):
        found[:, t, :, t] = own[:, t] + torch.diag_embed(links.own[:, t])
        if t + 1 < arrow.frames:
            found[:, t, :, t + 1], found[:, t + 1, :, t] = near[:, t], near[:, t].mT
        if t + 2 < arrow.frames:
            found[:, t, :, t + 2], found[:, t + 2, :, t] = far[:, t], far[:, t].mT
    return found.flatten(3, 4).flatten(1, 2)


def look(
    body: Body, truth: Parameters, terms: Terms, layout: Layout, bias: float, rng: np.random.Generator
) -> list[Observations]:
    """What a detector with the recipe's noise says: one clip for every person, or one row of photos for all. `bias` is
    a share of the person's height, in every coordinate of every keypoint, and stays for a clip."""
    people, frames = truth["transl"].shape[:2]
    embedding = body.embedding_of(layout)
    assert embedding is not None
    like = truth["transl"]
    K = intrinsics(FOCAL, SIZE)
    points = body.restrict(embedding).to(like).pose(truth).points
    exact = camera_to_pixels(world_to_camera(points), torch.as_tensor(K).to(like)).numpy()
    height = FOCAL * body.yard_stick_of(layout) / -points[..., 2].mean(dim=2).numpy()  # pixels, (people, frames)
    indices = embedded_points(embedding)
    each = white_sd(layout, indices, height.ravel(), terms, Noise(None)).reshape(exact.shape[:3])
    wrong = bias * height[..., None, None] * rng.standard_normal((people, 1, len(indices), 2))
    pixels = exact + wrong + each[..., None] * rng.standard_normal(exact.shape)
    keypoints, confidence = np.zeros((people, frames, len(layout), 2)), np.zeros((people, frames, len(layout)))
    keypoints[:, :, indices], confidence[:, :, indices] = pixels, 1.0
    confidence[:, :, [k for k, name in enumerate(layout.point_names) if name in HIDDEN]] = 0.0
    is_clip = frames > 1
    rows = (people, frames) if is_clip else (1, people)
    parts = (part.reshape(*rows, *part.shape[2:]) for part in (keypoints, confidence))
    return [
        Observations(
            person="000",
            layout=layout,
            keypoints=seen,
            confidence=sure,
            names=tuple(f"{k:04d}" for k in range(rows[1])),
            image_sizes=np.tile(SIZE, (rows[1], 1)),
            is_clip=is_clip,
            fps=FPS if is_clip else None,
        )
        for seen, sure in zip(*parts, strict=True)
    ]
