"""SMPLify-X's configuration read as it is: written here from its description, as a user would have it."""

import math
from pathlib import Path

import pytest

from fitting.cli import main
from fitting.config import FitConfig
from fitting.smplifyx_yaml import is_smplifyx, translate
from fitting.types import ConfigError

THEIRS = """
dataset: 'openpose'
gender: 'neutral'
focal_length: 5000
result_folder: 'results'
mesh_folder: 'meshes'
joints_to_ign: [1, 9, 12]
use_hands: True
use_face: True
use_face_contour: False
use_joints_conf: True
rho: 100
use_vposer: True
body_prior_type: 'l2'
num_betas: 10
use_pca: True
num_pca_comps: 12
flat_hand_mean: False
model_type: 'smplx'
side_view_thsh: 25
interpenetration: True
df_cone_height: 0.0001
max_collisions: 128
penalize_outside: True
ign_part_pairs: ["9,16", "9,17"]
part_segm_fn: smplx_parts_segm.pkl
optim_type: 'lbfgsls'
lr: 1.0
maxiters: 30
ftol: 1e-9
gtol: 1e-9
visualize: True
save_meshes: True
float_dtype: 'float32'
my_own_key: 3
data_weights: [1, 1, 1, 1, 1]
body_pose_prior_weights: [4.04e+02, 4.04e+02, 57.4, 4.78, 4.78]
shape_weights: [100.0, 50.0, 10.0, 5.0, 5.0]
expr_weights: [100.0, 50.0, 10.0, 5.0, 5.0]
hand_pose_prior_weights: [404.0, 404.0, 57.4, 4.78, 4.78]
jaw_pose_prior_weights: ['4.04e+03,4.04e+04,4.04e+04', '4.04e+03,4.04e+04,4.04e+04',
  '574,5740,5740', '47.8,478,478', '47.8,478,478']
hand_joints_weights: [0.0, 0.0, 0.0, 0.1, 2.0]
face_joints_weights: [0.0, 0.0, 0.0, 0.0, 2.0]
coll_loss_weights: [0.0, 0.0, 0.0, 0.01, 1.0]
"""
WORDS = (("data_folder", "D"), ("output_folder", "O"), ("model_folder", "M"), ("gender", "male"), ("vposer_ckpt", "V"))


@pytest.fixture
def theirs(tmp_path):
    path = tmp_path / "fit_smplx.yaml"
    path.write_text(THEIRS)
    return path


def test_the_command_of_the_other_program(theirs):
    config, notes = FitConfig.load_with_notes(theirs, (*WORDS, ("visualize", "False")))
    assert config.input == "D" and config.output == Path("O")
    assert config.outputs == ("params", "smplifyx", "obj") and config.export_dir == Path("O")
    body = config.body
    assert (body.model, body.gender, body.betas, body.expressions) == ("smplx", "male", 10, 10)
    assert (body.folder, body.vposer, body.hand_pca, body.flat_hand_mean) == (Path("M"), Path("V"), 12, False)
    assert config.camera.focal == 5000 and not config.camera.use_exif


def all_stages(config):
    """The search goes through the first two."""
    return (*config.search.stages, *config.stages)


def test_five_stages_with_their_weights_as_sigmas(theirs):
    config = FitConfig.load(theirs, WORDS)
    stages = all_stages(config)
    names = [f"stage {k}" for k in range(1, 5)]
    assert [stage.name for stage in stages] == ["camera", *names, "stage 5 begun", "stage 5", "once more"]
    *_, begun, last, more = stages
    assert more.anew == ("left_hand_pose", "right_hand_pose", "jaw_pose")
    same = {"name": "stage 5", "anew": (), "tolerance": last.tolerance, "iterations": 28}
    assert begun.model_copy(update=same) == more.model_copy(update=same) == last
    assert config.search.carry_through == "stage 5" and config.search.rivals >= 1
    for k, weight in enumerate((404, 404, 57.4, 4.78, 4.78)):
        terms = config.stage_terms(stages[k + 1])
        assert terms.pose_latent.sigma == pytest.approx(1 / weight)
        assert terms.bend.sigma**-2 == pytest.approx(3.17 * weight)
        assert terms.hands.sigma == terms.hand_components.sigma == pytest.approx(1 / weight)
        assert terms.shape.sigma == pytest.approx(1 / (100, 50, 10, 5, 5)[k])
        assert terms.expression.sigma == pytest.approx(1 / (100, 50, 10, 5, 5)[k])
        pitch = (4040, 4040, 574, 47.8, 47.8)[k]
        assert terms.jaw.sigma == pytest.approx(1 / pitch) and terms.jaw.factors == pytest.approx((1, 0.1, 0.1))
        points = terms.keypoints
        assert (points.sigma, points.unit, points.kernel, points.kernel_width) == (
            0.001,
            "picture",
            "geman_mcclure",
            100,
        )
        assert points.points == {"neck": 0.0, "right_hip": 0.0, "left_hip": 0.0}
        hand, face = (0, 0, 0, 0.1, 2)[k], (0, 0, 0, 0, 2)[k]
        assert points.groups == dict.fromkeys(("left_hand", "right_hand", "face", "contour"), 0) and points.by_axis
        for part, factor in ((terms.keypoints_hands, hand), (terms.keypoints_face, face)):
            assert (part is None) == (factor == 0)
            if part is not None:
                assert part.sigma == pytest.approx(0.001 / factor) and part.kernel_width == pytest.approx(100 * factor)
                assert part.groups["body"] == part.groups["contour"] == 0 and part.unit == "picture" and part.by_axis
        moving = stages[k + 1].blocks()
        assert ("left_hand_pose" in moving) == (hand > 0) and ("jaw_pose" in moving) == (face > 0)
        assert {"global_orient", "transl", "body_pose", "betas"} <= set(moving)


def test_self_intersection_where_it_has_a_weight(theirs):
    config = FitConfig.load(theirs, WORDS)
    found = [config.stage_terms(stage).interpenetration for stage in all_stages(config)]
    assert found[:4] == [None] * 4
    assert [term.sigma for term in found[4:]] == pytest.approx([0.05, 0.005, 0.005, 0.005])
    assert found[5].ignore == ("9,16", "9,17")
    off = FitConfig.load(theirs, (*WORDS, ("interpenetration", "False")))
    assert all(off.stage_terms(stage).interpenetration is None for stage in off.stages)


def test_the_camera_stage_sees_the_torso_alone(theirs):
    config = FitConfig.load(theirs, WORDS)
    terms = config.stage_terms(config.search.stages[0])
    assert config.search.stages[0].blocks() == ("global_orient", "transl")
    assert terms.keypoints.groups["torso"] == 1 and terms.keypoints.groups["body"] == 0
    assert terms.keypoints.points == {} and terms.keypoints.kernel == "squared"


def test_every_key_without_a_counterpart_is_named_once(theirs):
    _, notes = FitConfig.load_with_notes(theirs, WORDS)
    named = [note.split(":")[0] for note in notes]
    assert len(named) == len(set(named)) and all("\n" not in note for note in notes)
    assert set(named) == {
        "side_view_thsh", "df_cone_height", "max_collisions", "penalize_outside", "part_segm_fn",
        "optim_type", "lr", "maxiters", "ftol", "gtol", "my_own_key", "data_weights",
    }  # fmt: skip


def test_values_that_have_no_counterpart_are_named():
    found = translate({"use_vposer": False, "dataset": "coco19", "use_joints_conf": False, "img_folder": "images"})
    assert [note.split(" ")[0] for note in found.notes] == ["dataset", "use_joints_conf"]


def test_other_pose_priors():
    gmm = translate({"use_vposer": False, "body_prior_type": "gmm", "prior_folder": "P", "model_type": "smpl"}).tree
    assert gmm["body"]["gmm"] == "P/gmm_08.pkl" and "vposer" not in gmm["body"] and "hand_pca" not in gmm["body"]
    assert gmm["stages"][-1]["terms"]["pose_gmm"]["sigma"] == pytest.approx(math.sqrt(2) / 4.78)
    rest = translate({"use_vposer": False, "use_face": False}).tree
    assert rest["stages"][-1]["terms"]["pose_rest"]["sigma"] == pytest.approx(1 / 4.78)
    assert "jaw" not in rest["stages"][-1]["terms"] and "expression" not in rest["stages"][-1]["free"]
    own = translate({"use_vposer": True})
    assert "pose" in own.tree["stages"][-1]["terms"] and any("vposer_ckpt" in note for note in own.notes)
    for tree in (gmm, rest, own.tree):
        config = FitConfig.model_validate(tree)
        for stage in config.stages:
            config.stage_terms(stage)


def test_smpls_four_stages():
    four = [404.0, 404.0, 57.4, 4.78]
    tree = translate({"model_type": "smpl", "use_vposer": False, "body_pose_prior_weights": four}).tree
    stages = [*tree["search"]["stages"][1:], *tree["stages"]]
    assert [stage["terms"]["shape"]["sigma"] for stage in stages] == [0.01, 0.02, 0.1, 0.2, 0.2]


@pytest.mark.parametrize(
    "change, said",
    [
        ({"shape_weights": [1.0, 2.0]}, "shape_weights has 2 values, body_pose_prior_weights has 5"),
        ({"jaw_pose_prior_weights": [1.0] * 5}, "three numbers"),
        ({"focal_length": "long"}, "focal_length: 'long' is not a number"),
        ({"use_vposer": "perhaps"}, "neither true nor false"),
        ({"use_vposer": False, "body_prior_type": "mog"}, "choose from gmm, l2, none"),
    ],
)
def test_what_is_wrong_is_said(change, said):
    with pytest.raises(ConfigError, match=said):
        translate(change)


def test_the_shipped_recipes_are_not_taken_for_it():
    for path in Path(__file__).resolve().parents[1].glob("cfg_files/*.yaml"):
        FitConfig.load(path)
        _, notes = FitConfig.load_with_notes(path)
        assert notes == ()
    assert not is_smplifyx({"stages": [], "use_vposer": True})


def test_its_words_serve_every_recipe():
    path = Path(__file__).resolve().parents[1] / "cfg_files" / "fit_flame.yaml"
    config = FitConfig.load(path, WORDS)
    assert config.input == "D" and config.body.folder == Path("M") and config.body.vposer == Path("V")


def test_the_command_line_names_them(theirs, tmp_path, capsys):
    """The run itself ends at the model file that is not there."""
    words = [f"--{key}" if k == 0 else key for pair in WORDS for k, key in enumerate(pair)]
    code = main(["--config", str(theirs), *words, "--visualize=False", "--model_folder", str(tmp_path)])
    said = capsys.readouterr().err
    assert code == 5 and "note: df_cone_height: the self-intersection term" in said
    assert "note: my_own_key: unknown here" in said
