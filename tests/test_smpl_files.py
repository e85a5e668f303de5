"""Files of the SMPL family: equal to the smplx package on all of them, and every refusal."""

from pathlib import Path

import numpy as np
import pytest
import torch
from made_smpl import JOINTS, smpl_arrays, write_npz, write_pkl

from fitting import bodies
from fitting.bodies.decoded import DecodedBody
from fitting.bodies.smpl_files import read_smpl
from fitting.types import ModelError, Parameters

FAMILIES = ("smpl", "smplh", "smplx")
WRITERS = {"npz": write_npz, "pkl": write_pkl}
FRAMES = 3


def put(folder: Path, family: str, kind: str = "npz", gender: str = "NEUTRAL", **sizes) -> Path:
    return WRITERS[kind](folder / family / f"{family.upper()}_{gender}.{kind}", smpl_arrays(family, **sizes))


def random_rows(body, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters as files have them: one row per frame, rotations as axis-angle."""
    rng = np.random.default_rng(seed)
    return {
        block.name: rng.normal(0, 1.0 if block.name == "betas" else 0.4, (FRAMES, block.size * (3 if r else 1)))
        for block in body.blocks
        for r in [block.kind == "rotation"]
    }


def from_rows(body, rows) -> Parameters:
    blocks = {block.name: block for block in body.blocks}
    values = {name: blocks[name].from_rows(value)[None] for name, value in rows.items()}
    values["betas"] = values["betas"][:, :1]
    return Parameters(values).to(torch.zeros(0, dtype=torch.float64))


def smplx_model(family: str, path: Path, monkeypatch: pytest.MonkeyPatch, **options):
    """The smplx package's model of a file; its keypoint vertices, which these small meshes lack, are all vertex 0."""
    smplx = pytest.importorskip("smplx", reason="smplx, a test-only extra, is not installed")
    from smplx import vertex_ids

    for table in ("smplh", "smplx"):
        monkeypatch.setitem(vertex_ids.vertex_ids, table, dict.fromkeys(vertex_ids.vertex_ids[table], 0))
    kind = {"smpl": smplx.SMPL, "smplh": smplx.SMPLH, "smplx": smplx.SMPLX}[family]
    options |= {"batch_size": FRAMES, "dtype": torch.float64, "gender": "neutral"}
    if family == "smpl" and path.suffix == ".npz":  # smplx reads SMPL from pickles only
        from smplx.utils import Struct

        arrays = smpl_arrays("smpl")
        options["data_struct"] = Struct(**arrays)
    return kind(str(path), **options, **({} if family == "smpl" else {"ext": path.suffix[1:]}))


def forward(model, rows: dict[str, np.ndarray]):
    rows = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in rows.items()}
    rows["betas"] = rows["betas"][:1].expand(FRAMES, -1)
    with torch.no_grad():
        return model(**rows)


@pytest.mark.parametrize("kind", ["npz", "pkl"])
@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_smplx(tmp_path, monkeypatch, family, kind):
    path = put(tmp_path, family, kind)
    body = bodies.load(family, tmp_path, flat_hand_mean=True).to(torch.zeros(0, dtype=torch.float64))
    rows = random_rows(body)
    ours = body.pose(from_rows(body, rows))
    options = {} if family == "smpl" else {"use_pca": False, "flat_hand_mean": True}
    theirs = forward(smplx_model(family, path, monkeypatch, **options), rows)
    np.testing.assert_allclose(ours.points[0], theirs.vertices, atol=1e-5)
    np.testing.assert_allclose(ours.joints[0], theirs.joints[:, : len(JOINTS[family])], atol=1e-5)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("count", [6, 12, 45])
@pytest.mark.parametrize("family", ["smplh", "smplx"])
def test_hand_components_equal_smplx(tmp_path, monkeypatch, family, count, flat):
    path = put(tmp_path, family)
    body = bodies.load(family, tmp_path, hand_pca=count, flat_hand_mean=flat).to(torch.zeros(0, dtype=torch.float64))
    assert isinstance(body, DecodedBody)
    rows = random_rows(body)
    named = {name.replace("_pca", "_pose"): value for name, value in rows.items()}
    model = smplx_model(family, path, monkeypatch, use_pca=True, num_pca_comps=count, flat_hand_mean=flat)
    np.testing.assert_allclose(body.pose(from_rows(body, rows)).points[0], forward(model, named).vertices, atol=1e-5)


@pytest.mark.parametrize("family", ["smplh", "smplx"])
def test_hands_joint_by_joint_with_and_without_their_mean(tmp_path, monkeypatch, family):
    """Rotation blocks hold the whole rotation; `hands` converts to what a model with flat_hand_mean False is given."""
    path = put(tmp_path, family)
    body = bodies.load(family, tmp_path, flat_hand_mean=False).to(torch.zeros(0, dtype=torch.float64))
    assert not body.hands.flat_mean
    rows = random_rows(body)
    given = dict(rows)
    for side in ("left", "right"):
        given[f"{side}_hand_pose"] = body.hands.relative(side, rows[f"{side}_hand_pose"])
        np.testing.assert_allclose(body.hands.absolute(side, given[f"{side}_hand_pose"]), rows[f"{side}_hand_pose"])
    model = smplx_model(family, path, monkeypatch, use_pca=False, flat_hand_mean=False)
    np.testing.assert_allclose(body.pose(from_rows(body, rows)).points[0], forward(model, given).vertices, atol=1e-5)
    zero = {name: np.zeros_like(value) for name, value in rows.items()}
    np.testing.assert_allclose(body.pose(body.neutral(1, 1)).points[0, 0], forward(model, zero).vertices[0], atol=1e-5)


@pytest.mark.parametrize("betas, expressions", [(10, 10), (300, 100), (17, 33)])
def test_as_many_coefficients_as_asked_for(tmp_path, monkeypatch, betas, expressions):
    path = put(tmp_path, "smplx", betas=betas)
    body = bodies.load("smplx", tmp_path, betas=betas, expressions=expressions, flat_hand_mean=True)
    body = body.to(torch.zeros(0, dtype=torch.float64))
    sizes = {block.name: block.size for block in body.blocks}
    assert (sizes["betas"], sizes["expression"]) == (betas, expressions)
    rows = random_rows(body)
    options = {"use_pca": False, "flat_hand_mean": True, "num_betas": betas, "num_expression_coeffs": expressions}
    theirs = forward(smplx_model("smplx", path, monkeypatch, **options), rows)
    np.testing.assert_allclose(body.pose(from_rows(body, rows)).points[0], theirs.vertices, atol=1e-5)


def test_blocks_have_the_fields_names(tmp_path):
    expected = {
        "smpl": {"betas": 10, "global_orient": 1, "body_pose": 23, "transl": 3},
        "smplh": {"betas": 10, "global_orient": 1, "body_pose": 21, "left_hand_pose": 15, "right_hand_pose": 15,
                  "transl": 3},
        "smplx": {"betas": 10, "expression": 10, "global_orient": 1, "body_pose": 21, "jaw_pose": 1, "leye_pose": 1,
                  "reye_pose": 1, "left_hand_pose": 15, "right_hand_pose": 15, "transl": 3},
    }  # fmt: skip
    for family in FAMILIES:
        put(tmp_path, family)
        body = bodies.load(family, tmp_path)
        assert {block.name: block.size for block in body.blocks} == expected[family]
        assert body.joint_names[body.head_joint] == "head"


def test_smplh_takes_hands_from_mano(tmp_path):
    arrays = smpl_arrays("smplh")
    hands = {key: arrays.pop(key) for key in list(arrays) if key.startswith("hands_")}
    write_npz(tmp_path / "smplh" / "male" / "model.npz", arrays)
    with pytest.raises(ModelError, match="MANO_LEFT and MANO_RIGHT.*flat_hand_mean: true"):
        bodies.load("smplh", tmp_path, "male")
    with pytest.raises(ModelError, match="12 hand components asked for, there are 0.*MANO_LEFT"):
        bodies.load("smplh", tmp_path, "male", flat_hand_mean=True, hand_pca=12)
    assert bodies.load("smplh", tmp_path, "male", flat_hand_mean=True).hands.components.shape == (2, 0, 45)
    for side in ("left", "right"):
        found = {"hands_mean": hands[f"hands_mean{side[0]}"], "hands_components": hands[f"hands_components{side[0]}"]}
        write_pkl(tmp_path / "mano" / f"MANO_{side.upper()}.pkl", found)
    body = bodies.load("smplh", tmp_path, "male", hand_pca=12)
    for k, side in enumerate("lr"):
        np.testing.assert_allclose(body.hands.mean[k], hands[f"hands_mean{side}"], atol=1e-6)
        np.testing.assert_allclose(body.hands.components[k], hands[f"hands_components{side}"], atol=1e-6)


@pytest.mark.parametrize(
    "name, gender",
    [
        ("smpl/basicModel_f_lbs_10_207_0_v1.0.0.pkl", "female"),
        ("basicmodel_m_lbs_10_207_0_v1.1.0.pkl", "male"),
        ("deep/down/smpl/SMPL_NEUTRAL.pkl", "neutral"),
    ],
)
def test_usual_names_are_found(tmp_path, name, gender):
    write_pkl(tmp_path / name, smpl_arrays("smpl"))
    assert bodies.load("smpl", tmp_path, gender).name == "smpl"
    assert read_smpl(tmp_path / name).gender == gender
    assert bodies.load(str(tmp_path / name)).name == "smpl"


def test_a_missing_file_says_what_was_looked_for_found_and_what_to_do(tmp_path):
    with pytest.raises(ModelError, match="the folder does not exist.*https://smpl-x.is.tue.mpg.de/"):
        bodies.load("smplx", tmp_path / "none")
    put(tmp_path, "smplx", gender="MALE")
    with pytest.raises(ModelError) as caught:
        bodies.load("smplx", tmp_path, "female")
    text = str(caught.value)
    for part in ("`smplx` (female)", "smplx_female.npz", "Found: smplx/SMPLX_MALE.npz", "`gender: male`", "open_body"):
        assert part in text
    with pytest.raises(ModelError, match="no neutral model of its own"):
        bodies.load("smplh", tmp_path)
    with pytest.raises(ModelError, match="gender 'other' is not known"):
        bodies.load("smpl", tmp_path, "other")
    with pytest.raises(ModelError, match=r"open_body.npz: there is no such model file.*install Keyfit again"):
        bodies.load("open_body", tmp_path)


def changed(key: str, change):
    def apply(arrays):
        arrays[key] = change(arrays[key])

    return apply


FAULTS = {
    "no v_template in it": lambda a: a.pop("v_template"),
    "no posedirs in it": lambda a: a.pop("posedirs"),
    "shapedirs has 10 columns, which leaves none for expressions": changed("shapedirs", lambda x: x[..., :10]),
    r"shapedirs is \(1214, 60\)": changed("shapedirs", lambda x: x.reshape(len(x), -1)),
    "posedirs is": changed("posedirs", lambda x: x[..., :9]),
    "J_regressor is a sparse": changed("J_regressor", lambda x: x[:, :-1]),
    "weights is": changed("weights", lambda x: x[:, :-1]),
    "do not sum to 1": changed("weights", lambda x: 2 * x),
    "f names vertices": changed("f", lambda x: x + 10_000),
    "not finite": changed("v_template", lambda x: x * np.nan),
    "54 joints": changed("kintree_table", lambda x: x[:, :-1]),
    "model: flame": changed("kintree_table", lambda x: x[:, :5]),
    r"a hand's mean is \(44,\)": changed("hands_meanl", lambda x: x[:-1]),
    "a triangle index is outside": changed("lmk_faces_idx", lambda x: x + 10_000),
    "the dynamic table is": changed("dynamic_lmk_faces_idx", lambda x: x[:40]),
}


@pytest.mark.parametrize("message", FAULTS)
def test_every_fault_is_named(tmp_path, message):
    arrays = smpl_arrays("smplx")
    FAULTS[message](arrays)
    path = write_pkl(tmp_path / "SMPLX_NEUTRAL.pkl", arrays)
    with pytest.raises(ModelError, match=message) as caught:
        bodies.load("smplx", tmp_path)
    assert path.name in str(caught.value)


def test_sizes_and_families_that_do_not_fit(tmp_path):
    put(tmp_path, "smplx")
    with pytest.raises(ModelError, match="11 betas asked for, the model has 10"):
        bodies.load("smplx", tmp_path, betas=11)
    with pytest.raises(ModelError, match="11 expression coefficients asked for, the model has 10"):
        bodies.load("smplx", tmp_path, expressions=11)
    with pytest.raises(ModelError, match="46 hand components asked for, there are 45"):
        bodies.load("smplx", tmp_path, hand_pca=46)
    write_npz(tmp_path / "other" / "SMPL_NEUTRAL.npz", smpl_arrays("smplh"))
    with pytest.raises(ModelError, match="`model: smpl` was asked for.*those of smplh"):
        bodies.load("smpl", tmp_path / "other")
