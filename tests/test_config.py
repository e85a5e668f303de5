"""Recipes load; whatever is misspelt, misplaced or of the wrong kind is refused with the nearest name."""

from pathlib import Path

import pytest
import yaml

from fitting.cli import split_words
from fitting.config import ALIASES, FitConfig, StageConfig
from fitting.terms import Terms
from fitting.types import ConfigError

RECIPES = sorted((Path(__file__).resolve().parents[1] / "cfg_files").glob("*.yaml"))
SMALL = {
    "terms": {"keypoints": {"sigma": 0.02, "groups": {"lips": 1.4}}, "shape": {}},
    "stages": [{"name": "place", "free": ["rotation"], "terms": {"keypoints": {"sigma": 0.1}}}],
}


def recipe(folder, tree):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def refused(folder, tree=SMALL, overrides=()):
    with pytest.raises(ConfigError) as found:
        FitConfig.load(recipe(folder, tree), overrides)
    assert found.value.exit_code == 2 and "\n" not in str(found.value)
    return str(found.value)


def test_there_are_recipes():
    assert {"fit_flame.yaml", "refine_flame.yaml"} <= {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_loads_is_short_and_comes_back_from_its_own_yaml(path, tmp_path):
    config = FitConfig.load(path)
    assert len(path.read_text().splitlines()) <= 40
    again = tmp_path / "conf.yaml"
    again.write_text(config.to_yaml())
    assert FitConfig.load(again) == config
    for stage in config.stages:
        assert config.stage_terms(stage).named()


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipes_name_blocks_groups_and_parts_that_exist(path, open_head):
    """A misspelt block of a smoothness term would otherwise be silently free."""
    config = FitConfig.load(path)
    if config.body.model != "open_head":
        pytest.skip("another body")
    known = {block.name for block in open_head.blocks}
    layout = open_head.embeddings["mediapipe478"].layout
    for term in (config.terms.anchor, config.terms.velocity, config.terms.acceleration):
        assert term is None or set(term.blocks) <= known
    assert set(config.terms.keypoints.groups) <= set(layout.groups)
    assert config.terms.openings is None or set(config.terms.openings.parts) <= set(layout.distances)
    free = {name for stage in config.stages for name in stage.blocks()}
    assert free <= known | {"focal", "keypoint_offsets"}


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("sages", "stages"),
        ("outptu", "output"),
        ("body.modle", "model"),
        ("camera.focal_facter", "focal_factor"),
        ("terms.keypoint", "keypoints"),
        ("terms.keypoints.sigam", "sigma"),
        ("terms.jaw.factor", "factors"),
        ("detector.max_person", "max_persons"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest(tmp_path, key, nearest):
    message = refused(tmp_path, overrides=[(key, "1")])
    assert f"{key!r}" in message and f"did you mean {nearest!r}" in message


def test_a_misspelt_key_of_a_stage_is_refused_with_the_nearest(tmp_path):
    tree = {**SMALL, "stages": [{"name": "place", "fre": ["rotation"], "free": ["rotation"]}]}
    assert "did you mean 'free'" in refused(tmp_path, tree)


@pytest.mark.parametrize(
    ("changes", "nearest"), [({"keypoint": {"sigma": 1.0}}, "keypoints"), ({"shape": {"sigm": 1.0}}, "sigma")]
)
def test_a_misspelt_key_of_a_stages_terms_is_refused_on_loading(tmp_path, changes, nearest):
    """On loading, not after minutes of detection and earlier stages."""
    tree = {**SMALL, "stages": [{"name": "place", "free": ["rotation"], "terms": changes}]}
    message = refused(tmp_path, tree)
    assert "'place'" in message and f"did you mean {nearest!r}" in message


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("camera.fov", "190", "camera.fov"),
        ("camera.focal", "-3", "camera.focal"),
        ("terms.keypoints.sigma", "0", "terms.keypoints.sigma"),
        ("terms.keypoints.kernel", "hubert", "terms.keypoints.kernel"),
        ("body.gender", "other", "body.gender"),
        ("body.betas", "many", "body.betas"),
        ("read.image_size", "[640]", "read.image_size"),
        ("precision", "float16", "precision"),
        ("stages", "[]", "stages"),
        ("chunk", "0", "chunk"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_key(tmp_path, key, value, says):
    assert says in refused(tmp_path, overrides=[(key, value)])


@pytest.mark.parametrize("solver", ["newton", "ADAM"])
def test_an_unknown_solver_is_refused(tmp_path, solver):
    tree = {**SMALL, "stages": [{"name": "a", "free": ["shape"], "solver": solver}]}
    assert "solver" in refused(tmp_path, tree)


def test_every_solver_may_be_named():
    from fitting.solvers import SOLVERS

    for solver in SOLVERS:
        assert StageConfig(name="a", free=("shape",), solver=solver).solver == solver


def test_files_that_are_no_recipe(tmp_path):
    with pytest.raises(ConfigError, match="absent.yaml"):
        FitConfig.load(tmp_path / "absent.yaml")
    for content in ("- a list", "a: [unclosed", "", "just words"):
        path = tmp_path / "odd.yaml"
        path.write_text(content)
        with pytest.raises(ConfigError, match="odd.yaml"):
            FitConfig.load(path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match=r"bytes\.yaml"):
        FitConfig.load(tmp_path / "bytes.yaml")


def test_overrides_are_dotted_yaml_and_lists_of_words(tmp_path):
    config = FitConfig.load(
        recipe(tmp_path, SMALL),
        [
            ("terms.keypoints.sigma", "0.05"),
            ("terms.shape", "null"),
            ("terms.jaw.sigma", "0.1"),
            ("camera.principal", "[10, 20.5]"),
            ("body.betas", "null"),
            ("outputs", "params,obj"),
            ("input", "00012"),
            ("output", "2024"),
            ("quiet", "true"),
        ],
    )
    assert config.terms.keypoints.sigma == 0.05 and config.terms.keypoints.groups == {"lips": 1.4}
    assert config.terms.shape is None and config.terms.jaw.sigma == 0.1
    assert config.camera.principal == (10.0, 20.5) and config.body.betas is None
    assert config.outputs == ("params", "obj") and config.quiet
    assert config.input == "00012" and config.output == Path("2024")  # names, never numbers


def test_no_outputs_at_all(tmp_path):
    assert FitConfig.load(recipe(tmp_path, SMALL), [("outputs", "")]).outputs == ()


def test_an_override_below_a_plain_value_is_refused(tmp_path):
    assert "quiet" in refused(tmp_path, {**SMALL, "quiet": True}, [("quiet.loud", "1")])


def test_a_value_that_is_not_yaml_is_refused(tmp_path):
    assert "camera.focal" in refused(tmp_path, overrides=[("camera.focal", "[1")])


def test_words_for_blocks_and_their_names(open_head, open_body):
    stage = StageConfig(name="a", free=("rotation", "eyes", "shape", "expression"))
    assert stage.blocks() == ("global_orient", "leye_pose", "reye_pose", "betas", "expression")
    known = {block.name for body in (open_head, open_body) for block in body.blocks} | {"keypoint_offsets"}
    assert {name for names in ALIASES.values() for name in names} <= known


def test_a_stage_changes_terms_for_itself_only(tmp_path):
    changes = {"keypoints": {"sigma": 0.1}, "shape": None, "jaw": {"sigma": 1.0}}
    tree = {
        **SMALL,
        "stages": [
            {"name": "a", "free": ["rotation"], "terms": changes},
            {"name": "b", "free": ["rotation"]},
        ],
    }
    config = FitConfig.load(recipe(tmp_path, tree))
    first, second = (config.stage_terms(stage) for stage in config.stages)
    assert first.keypoints.sigma == 0.1 and first.keypoints.groups == {"lips": 1.4}
    assert first.shape is None and first.jaw.sigma == 1.0
    assert second == config.terms and second.jaw is None


def test_the_default_of_every_term_is_valid():
    for name in Terms.model_fields:
        assert list(Terms.model_validate({name: {}}).named()) == [name]


def test_words_of_the_command_line():
    words = ["--config", "a.yaml", "--quiet", "--input=x y.jpg", "--camera.focal", "-5", "--output", "out/--odd"]
    path, pairs = split_words(words)
    assert path == "a.yaml"
    assert pairs == [("quiet", "true"), ("input", "x y.jpg"), ("camera.focal", "-5"), ("output", "out/--odd")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--input", "a.jpg"], "--config"),
        (["--config", "a.yaml", "a.jpg"], "a.jpg"),
        (["--config", "a.yaml", "--input"], "--input"),
    ],
)
def test_words_that_do_not_pair_up(words, says):
    with pytest.raises(ConfigError, match=says):
        split_words(words)


def test_the_folder_of_results_is_named_after_the_input(tmp_path):
    def folder(*overrides):
        return FitConfig.load(recipe(tmp_path, SMALL), overrides).output_folder()

    assert folder() == Path("out/grace_hopper")
    assert folder(("input", "some/clip.final.mp4")) == Path("out/clip.final")
    assert folder(("output", "here")) == Path("here")
