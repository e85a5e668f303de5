"""Fits as training data: what lies in a window, which windows there are, and that their order depends on the seed
alone.
"""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from fitting.camera import camera_to_pixels, world_to_camera
from fitting.layouts import MEDIAPIPE478
from fitting.samples import TalkingHead, talking_head
from fitting.training import FitDataset, Recording, WindowOptions
from fitting.training.crop import Square, square_of
from fitting.training.pictures import VideoFrames, open_frames
from fitting.types import InputError
from fitting.writers.video import video_writer

FRAMES, BAD, CUT, FAR = 14, 4, 9, 12
AU = "frame, face_id, success, AU01_r, AU45_r\n"


@pytest.fixture(scope="module")
def fit(open_head, tmp_path_factory) -> Path:
    """A folder as a fit leaves it: frame 4 interpolated, a cut before 9, frame 12 too far off; pictures beside it."""
    folder = tmp_path_factory.mktemp("fit")
    clip = talking_head(open_head, TalkingHead(frames=FRAMES))
    (folder / "pictures").mkdir()
    for k, picture in enumerate(clip.pictures.read()):
        Image.fromarray(picture).save(folder / "pictures" / f"{k}.png")
    valid, error = np.arange(FRAMES) != BAD, np.where(np.arange(FRAMES) == FAR, 30.0, 1.0)
    arrays = {name: rows.astype(np.float32) for name, rows in clip.truth.values.items()}
    np.savez(
        folder / "params.npz", **arrays, K=clip.truth.K, model="open_head", valid=valid, names=clip.names, person="000",
        image_sizes=clip.image_sizes, keypoints=clip.keypoints.astype(np.float32), layout=clip.layout.name,
        confidence=clip.confidence.astype(np.float32), error_percent=error, block_names=list(clip.truth.values),
    )  # fmt: skip
    (folder / "conf.yaml").write_text(f"input: landmarks.npz\nread: {{pictures: {folder / 'pictures'}}}\n")
    (folder / "report.json").write_text(json.dumps({"cuts": {"000": [CUT]}, "frames": []}))
    lines = [f"{k + 1}, 0, 1, {k / 10:.2f}, 1.0\n" for k in range(FRAMES) if k != 2]
    (folder / "au.csv").write_text(AU + "".join(lines))
    return folder


@pytest.fixture(scope="module")
def dataset(fit, open_head) -> FitDataset:
    return FitDataset([Recording(fit, action_units=fit / "au.csv")], window=3, body=open_head)


def test_windows_keep_clear_of_bad_frames_and_cuts(dataset):
    assert [first for _, first in dataset.windows] == [0, 1, 5, 6, 9]  # none holds 4 or 12, none goes from 8 to 9
    assert len(FitDataset([dataset_path(dataset)], 2, body=dataset.body)) == 3 + 3 + 2


def dataset_path(dataset: FitDataset) -> Path:
    return dataset.recordings[0].frames.paths[0].parent.parent


def test_what_a_window_holds(dataset):
    item = dataset[1]
    shapes = {name: tuple(value.shape) for name, value in item.items()}
    assert shapes == {
        "image": (3, 3, 224, 224), "mask": (3, 3, 224, 224), "landmarks": (3, 478, 2), "confidence": (3, 478),
        "shape": (3, 100), "exp": (3, 76), "pose": (3, 6), "cam": (3, 3), "error_percent": (3,), "frame": (3,),
        "recording": (), "action_units": (3, 2),
    }  # fmt: skip
    assert item["frame"].tolist() == [1, 2, 3] and item["image"].dtype == torch.float32
    assert 0 <= item["image"].min() and item["image"].max() <= 1 and item["image"].std() > 0.05
    # Joined by the number in the table, which counts from 1; the line of frame 2 is not there.
    np.testing.assert_allclose(item["action_units"][:, 0], [0.1, np.nan, 0.3], atol=1e-6)


def test_tex_and_light_of_the_codes_that_the_fit_started_from(fit, dataset, tmp_path):
    """Frame by frame by their number; a frame that the regressor left out is NaN."""
    content = {str(k + 1): {"shape": [[0.0] * 100], "exp": [[0.1 * k] * 50], "pose": [[0.0] * 6], "tex": [[k] * 50],
                            "light": [[[k] * 3] * 9]} for k in range(FRAMES) if k != 2}  # fmt: skip
    (tmp_path / "code.json").write_text(json.dumps(content))
    item = FitDataset([Recording(fit, codes=tmp_path / "code.json")], body=dataset.body)[1]
    assert item["tex"].shape == (3, 50) and item["light"].shape == (3, 27)
    np.testing.assert_array_equal(item["tex"][:, 0], [1, np.nan, 3])
    started = tmp_path / "fit"
    shutil.copytree(fit, started)
    with (started / "conf.yaml").open("a") as stream:
        stream.write(f"start: {tmp_path / 'code.json'}\n")
    item = FitDataset([started], body=dataset.body)[1]
    np.testing.assert_array_equal(item["light"][:, 26], [1, np.nan, 3])
    assert "tex" not in FitDataset([started, fit], body=dataset.body)[0]  # one of the two has none
    (tmp_path / "code.json").write_text(json.dumps({str(k + 1): content["1"] for k in range(FRAMES + 1)}))
    with pytest.raises(InputError, match="has 15 frames, the input has 14"):
        FitDataset([started], body=dataset.body)


def test_the_mask_lies_on_the_landmarks(dataset):
    item = dataset[0]
    assert torch.equal(item["mask"].sum(dim=1), torch.ones(3, 224, 224))
    pixels = (112 * (item["landmarks"] + 1)).round().long().clamp(0, 223)
    groups = MEDIAPIPE478.groups
    for name, channel, least in (("lips", 2, 0.9), ("lids", 2, 0.9), ("nose", 1, 0.7)):
        at = pixels[:, list(groups[name])]
        hit = torch.stack([item["mask"][k, channel][at[k, :, 1], at[k, :, 0]] for k in range(3)]).mean()
        assert hit > least, (name, float(hit))
    corners = item["mask"][:, 0][:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.mean() > 0.7 and 0.03 < item["mask"][:, 2].mean() < 0.4


def test_the_cameras_are_those_of_the_crop(dataset):
    """The model's origin, seen by the crop's camera, lies where the full picture's camera sees it."""
    item, (_, first) = dataset[0], dataset.windows[0]
    track = dataset.recordings[0].track
    rows = slice(first, first + 3)
    place = torch.as_tensor(track.values["transl"][rows])[:, None]
    pixels = camera_to_pixels(world_to_camera(place), torch.as_tensor(track.codes.K[rows]))[:, 0].numpy()
    recording = dataset.recordings[0]
    square = square_of(recording.keypoints[rows], recording.confidence[rows] > 0)
    s, tx, ty = item["cam"].double().numpy().T
    found = np.stack([112 * (1 + s * tx), 112 * (1 - s * ty)], axis=1)
    assert np.abs(found - square.to_crop(pixels)).max() < 0.01


def test_the_crop_shows_what_it_says():
    """A picture whose colours are its coordinates: every pixel of the crop knows where it comes from."""
    y, x = np.mgrid[:200, :250]
    picture = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    square = Square(120.3, 95.7, 131.0)
    crop = square.cut(picture) * 255
    j, i = np.mgrid[20:200, 20:200]
    expected = np.stack([i, j], axis=-1) / square.scale + square.corner
    assert np.abs(np.moveaxis(crop[:2, 20:200, 20:200], 0, -1) - expected).max() < 1.0  # colours are whole numbers
    outside = Square(10.0, 10.0, 100.0).cut(picture)
    assert outside.shape == (3, 224, 224) and not outside[:, :80, :80].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_gives_the_same_order(fit, open_head, workers):
    def order(seed: int, workers: int) -> list:
        data = FitDataset([fit], options=WindowOptions(shuffle=True, seed=seed), body=open_head)
        found = DataLoader(data, batch_size=2, num_workers=workers)
        return [tuple(batch[name].numpy().tobytes() for name in ("frame", "image", "mask", "cam")) for batch in found]

    alone = order(3, 0)
    assert order(3, workers) == alone and order(4, 0) != alone


def test_nothing_is_preloaded(dataset):
    """What travels to a worker holds no pictures: as much for fourteen frames as for a thousand."""
    assert not any(isinstance(v, np.ndarray) for v in vars(dataset.recordings[0].frames).values())
    assert len(pickle.dumps(dataset.recordings[0].frames)) < 5000


def test_frames_of_a_video_in_any_order(fit, tmp_path):
    pictures = open_frames(fit / "pictures")
    with video_writer(tmp_path / "clip.mp4", 25.0, (512, 512)) as append:
        for k in range(FRAMES):
            append(pictures[k])
    frames = open_frames(tmp_path / "clip.mp4")
    assert isinstance(frames, VideoFrames) and len(frames) == FRAMES
    for k in (13, 2, 3, 0, 7):
        errors = [np.abs(frames[k].astype(int) - pictures[j].astype(int)).mean() for j in range(FRAMES)]
        assert int(np.argmin(errors)) == k and errors[k] < 4
    again = pickle.loads(pickle.dumps(frames))
    np.testing.assert_array_equal(again[5], frames[5])


def test_what_does_not_fit_together(fit, tmp_path, open_head):
    with pytest.raises(InputError, match="no window of 6"):
        FitDataset([fit], window=6, body=open_head)
    (tmp_path / "few").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "few" / "0.png")
    with pytest.raises(InputError, match="14 frames"):
        FitDataset([Recording(fit, tmp_path / "few")], body=open_head)
    with pytest.raises(InputError, match="action units"):
        FitDataset([fit, Recording(fit, action_units=fit / "au.csv")], body=open_head)
    (tmp_path / "other.csv").write_text("time,temperature\n1,20\n")
    with pytest.raises(InputError, match=r"other\.csv: no action units"):
        FitDataset([Recording(fit, action_units=tmp_path / "other.csv")], body=open_head)
