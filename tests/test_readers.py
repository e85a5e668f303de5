"""Readers: every format written by hand from its description, every way a file can be wrong, and real files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitting.camera import exif_to_focal
from fitting.layouts import IBUG68, MEDIAPIPE478
from fitting.readers import READERS, ReadOptions, read
from fitting.types import InputError


@pytest.fixture
def face() -> np.ndarray:
    """68 points, pixels."""
    return np.random.default_rng(0).uniform(50, 250, (68, 2)).round(3)


@pytest.fixture
def mesh() -> np.ndarray:
    """478 points of one face, fractions of the picture."""
    return np.random.default_rng(1).uniform(0.3, 0.5, (478, 3))


def lines(points: np.ndarray) -> str:
    return "".join(f"{x} {y}\n" for x, y in points)


def pts(points: np.ndarray) -> str:
    return f"version: 1\nn_points:  {len(points)}\n{{\n{lines(points)}}}\n"


def save_image(path: Path, size: tuple[int, int] = (40, 30), **options) -> Path:
    Image.new("RGB", size, (10, 200, 30)).save(path, **options)
    return path


# ------------------------------------------------------------------ the room


def test_every_reader_has_both_functions():
    for reader in READERS:
        assert callable(reader.accepts) and callable(reader.read) and reader.__doc__


@pytest.mark.parametrize("suffix", [".npy", ".txt", ".lms", ".pts", ".csv", ".npz", ".json", ".png", ".jpg", ".mp4"])
@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY\x01\x00v\x00{'descr'", b"\xff\xd8\xff\xe0\x00\x10JF", b"PK\x03\x04 cut"]
)
def test_empty_and_cut_off_files_are_named(tmp_path, suffix, content):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken.*\(?\d+ bytes\)?"):
        read(path)


def test_a_missing_path_and_an_unknown_format_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nothing.png")
    (tmp_path / "face.xyz").write_text("1 2")
    with pytest.raises(InputError, match=r"no reader for '\.xyz'"):
        read(tmp_path / "face.xyz")


# ------------------------------------------------------------------ pictures


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "ppm", "webp", "tif"])
def test_an_image(tmp_path, suffix):
    pictures = read(save_image(tmp_path / f"me.{suffix}"))
    assert pictures.names == ("me",) and not pictures.is_clip and pictures.image_sizes.tolist() == [[40, 30]]
    (frame,) = pictures.read()
    assert frame.shape == (30, 40, 3) and frame.dtype == np.uint8
    np.testing.assert_allclose(frame[5, 5], (10, 200, 30), atol=6)


def test_exif_turns_the_picture_and_gives_the_focal_length(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    exif.get_ifd(0x8769)[0xA405] = 28
    picture = np.zeros((30, 40, 3), np.uint8)
    picture[:, :20] = 255  # the left half becomes the upper half
    Image.fromarray(picture).save(tmp_path / "phone.png", exif=exif)
    pictures = read(tmp_path / "phone.png")
    assert pictures.image_sizes.tolist() == [[30, 40]]
    assert pictures.focal_hints[0] == pytest.approx(exif_to_focal(28.0, (30, 40)))
    (frame,) = pictures.read()
    assert frame.shape == (40, 30, 3) and frame[:20].min() == 255 and frame[20:].max() == 0


def test_grey_sixteen_bit_keeps_its_shades(tmp_path):
    Image.fromarray(np.full((4, 4), 128 * 256, np.uint16)).save(tmp_path / "deep.png")
    (frame,) = read(tmp_path / "deep.png").read()
    assert frame.shape == (4, 4, 3) and (frame == 128).all()


def test_a_folder_is_sorted_by_number_and_passes_over_other_files(tmp_path):
    for name in ("shot10.png", "shot2.png", "shot1.png"):
        save_image(tmp_path / name)
    (tmp_path / "notes.md").write_text("hello")
    pictures = read(tmp_path)
    assert pictures.names == ("shot1", "shot2", "shot10") and not pictures.is_clip
    assert read(tmp_path, ReadOptions(sequence="clip", fps=25.0)).timestamps.tolist() == [0, 0.04, 0.08]


def test_a_folder_of_counted_frames_is_a_clip(tmp_path):
    for k in range(9, 12):
        save_image(tmp_path / f"{k}.png")
    assert read(tmp_path).is_clip and not read(tmp_path, ReadOptions(sequence="photos")).is_clip
    save_image(tmp_path / "12.png", size=(20, 20))
    assert not read(tmp_path).is_clip


def test_pictures_of_one_stem_keep_names_of_their_own(tmp_path):
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "a.jpg")
    assert read(tmp_path).names == ("a_jpg", "a_png")


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(InputError, match="found nothing"):
        read(tmp_path)


def test_a_damaged_picture_is_named_when_it_is_opened(tmp_path):
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(data, "png")
    (tmp_path / "half.png").write_bytes(data.getvalue()[:4000])
    with pytest.raises(InputError, match=r"half\.png"):
        list(read(tmp_path / "half.png").read())


def test_the_sample_photograph():
    pytest.importorskip("matplotlib")
    pictures = read("sample:grace_hopper")
    assert pictures.names == ("grace_hopper",) and next(pictures.read()).shape[2] == 3
    with pytest.raises(InputError, match="sample:grace_hopper"):
        read("sample:nobody")


# ------------------------------------------------------------------ video


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """12 frames of 64 x 48 at 10 per second; the left half is white."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_video(film):
    pictures = read(film)
    assert (
        pictures.is_clip and pictures.fps == 10 and len(pictures) == 12 and pictures.names[:2] == ("000000", "000001")
    )
    np.testing.assert_allclose(pictures.timestamps, np.arange(12) / 10, atol=1e-6)
    frames = list(pictures.read())
    assert len(frames) == 12 and frames[0].shape == (48, 64, 3) and frames[0][:, :28].min() > 200


def test_a_video_filmed_upright_is_turned(film, tmp_path):
    """The display matrix of the track header (ISO 14496-12, 8.3.2) set to a quarter turn clockwise."""
    one, minus = (0x10000).to_bytes(4, "big"), (-0x10000 & 0xFFFFFFFF).to_bytes(4, "big")
    zero, w = bytes(4), (0x40000000).to_bytes(4, "big")
    data = film.read_bytes()
    header = data.index(b"tkhd")
    upright = one + zero + zero + zero + one + zero + zero + zero + w
    place = data.index(upright, header)
    turned = zero + one + zero + minus + zero + zero + zero + zero + w
    (tmp_path / "phone.mp4").write_bytes(data[:place] + turned + data[place + len(upright) :])
    pictures = read(tmp_path / "phone.mp4")
    assert pictures.image_sizes[0].tolist() == [48, 64]
    frame = next(pictures.read())
    assert frame.shape == (64, 48, 3) and frame[:28].min() > 200 and frame[36:].max() < 50


@pytest.mark.parametrize(("name", "frames"), [("single_face.mp4", 72), ("face_noface.mov", 169)])
def test_real_videos_have_a_name_for_every_frame(shared, name, frames):
    pictures = read(shared / "clips" / name)
    assert len(pictures) == frames == sum(1 for _ in pictures.read())
    assert (np.diff(pictures.timestamps) > 0).all() and len(pictures.timestamps) == frames


# ------------------------------------------------------------------ 68 landmarks


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("frames", [None, 5])
def test_npy(tmp_path, face, columns, frames):
    points = np.hstack([face, np.ones((68, columns - 2))])
    np.save(tmp_path / "clip.npy", points if frames is None else np.stack([points] * frames))
    (found,) = read(tmp_path / "clip.npy", ReadOptions(image_size=(300, 280)))
    assert found.layout is IBUG68 and len(found) == (frames or 1) and found.is_clip == (frames is not None)
    np.testing.assert_array_equal(found.keypoints[-1], face)
    assert (found.confidence == 1).all() and found.image_sizes[0].tolist() == [300, 280]


@pytest.mark.parametrize(("suffix", "offset"), [(".txt", 0), (".lms", 0), (".pts", 1)])
def test_text(tmp_path, face, suffix, offset):
    """.pts counts from 1."""
    path = tmp_path / f"me{suffix}"
    path.write_text(pts(face + 1) if offset else lines(face))
    (found,) = read(path)
    np.testing.assert_allclose(found.keypoints[0], face, atol=1e-9)
    assert found.names == ("me",) and (found.image_sizes[0] > face.max(axis=0)).all()


def test_points_that_are_not_finite_are_not_seen(tmp_path, face):
    clip = np.stack([face] * 3)
    clip[0, 5] = np.nan
    clip[1, 7, 0] = np.inf
    clip[2] = np.nan
    np.save(tmp_path / "clip.npy", clip)
    (found,) = read(tmp_path / "clip.npy")
    assert (found.confidence == 0).sum(axis=1).tolist() == [1, 1, 68] and found.valid.tolist() == [True, True, False]
    assert np.isfinite(found.keypoints).all()


def test_wrong_shapes_are_refused(tmp_path, face):
    np.save(tmp_path / "a.npy", face[:67])
    np.save(tmp_path / "b.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "small.npy", face / 300)
    (tmp_path / "a.txt").write_text(lines(face[:67]))
    (tmp_path / "a.pts").write_text(pts(face[:66]))
    (tmp_path / "b.pts").write_text(pts(face)[:-30])
    (tmp_path / "c.lms").write_text(lines(face).replace(" ", " x", 1))
    expected = {"a.npy": r"\(67, 2\)", "b.npy": "not a readable", "small.npy": "expected pixels", "a.txt": "67 lines"}
    for name, message in (expected | {"a.pts": "found 66", "b.pts": "cut off", "c.lms": "numbers"}).items():
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)


def test_pictures_beside_landmarks_are_found(tmp_path, face):
    (tmp_path / "me.pts").write_text(pts(face))
    save_image(tmp_path / "me.png", size=(320, 300))
    (found,) = read(tmp_path / "me.pts")
    assert found.pictures is not None and found.image_sizes[0].tolist() == [320, 300]
    elsewhere = tmp_path / "photos"
    elsewhere.mkdir()
    (tmp_path / "me.png").rename(elsewhere / "me.png")
    assert read(tmp_path / "me.pts")[0].pictures is None
    for named in (elsewhere, elsewhere / "me.png"):
        assert read(tmp_path / "me.pts", ReadOptions(pictures=named))[0].image_sizes[0].tolist() == [320, 300]


def test_pictures_of_another_number_are_refused(tmp_path, face):
    np.save(tmp_path / "clip.npy", np.stack([face] * 3))
    save_image(tmp_path / "one.png")
    with pytest.raises(InputError, match=r"3 frame\(s\).*has 1"):
        read(tmp_path / "clip.npy", ReadOptions(pictures=tmp_path / "one.png"))


def test_a_folder_of_landmarks_keeps_its_gaps(tmp_path, face):
    for k in (2, 0, 10, 1, 3, 4, 5, 7):
        (tmp_path / f"{k}.lms").write_text(lines(face + k))
    (found,) = read(tmp_path, ReadOptions(fps=25.0))
    assert len(found) == 11 and np.flatnonzero(~found.valid).tolist() == [6, 8, 9] and found.is_clip
    np.testing.assert_allclose(found.keypoints[10], face + 10)
    assert found.names[10] == "10" and found.timestamps[10] == pytest.approx(0.4)


def test_a_folder_of_pictures_with_landmarks_has_a_row_for_every_picture(tmp_path, face):
    for k in range(4):
        save_image(tmp_path / f"{k}.jpg", size=(300, 300))
        if k != 0:
            (tmp_path / f"{k}.lms").write_text(lines(face + k))
    (found,) = read(tmp_path)
    assert found.valid.tolist() == [False, True, True, True] and len(found.pictures) == 4
    (tmp_path / "9.lms").write_text(lines(face))
    with pytest.raises(InputError, match=r"no picture for 9:"):
        read(tmp_path)


def test_hand_made_landmarks_lie_in_their_photograph(shared):
    options = ReadOptions(pictures=shared / "photos")
    (found,) = read(shared / "keypoints/takeo.pts", options)
    assert found.image_sizes.tolist() == [[150, 225]] and (found.keypoints < [150, 225]).all()


# ------------------------------------------------------------------ OpenFace


def openface(rows: list[tuple[float, ...]], head: str, face: np.ndarray) -> str:
    cells = [f"x_{k}" for k in range(68)] + [f"y_{k}" for k in range(68)]
    numbers = ", ".join(map(str, [*face[:, 0], *face[:, 1]]))
    return "\n".join([f"{head}, " + ", ".join(cells), *(", ".join(map(str, row)) + ", " + numbers for row in rows)])


def test_openface_2_has_several_people_and_gaps(tmp_path, face):
    """frame, face_id, timestamp, confidence, success: frame counts from 1, frame 3 is missing."""
    rows = [(1, 0, 0.0, 0.9, 1), (2, 0, 0.04, 0.8, 1), (2, 5, 0.04, 0.7, 1), (4, 0, 0.12, 0.3, 0), (5, 0, 0.16, 1, 1)]
    (tmp_path / "f.csv").write_text(openface(rows, "frame, face_id, timestamp, confidence, success", face))
    first, second = read(tmp_path / "f.csv")
    assert len(first) == len(second) == 5 and first.fps == pytest.approx(25)
    np.testing.assert_allclose(first.confidence[:, 0], [0.9, 0.8, 0, 0, 1])
    np.testing.assert_allclose(second.confidence[:, 0], [0, 0.7, 0, 0, 0])
    np.testing.assert_allclose(first.timestamps, np.arange(5) * 0.04)
    np.testing.assert_allclose(first.keypoints[4], face)


def test_openface_without_landmarks_or_cut_off_is_refused(tmp_path, face):
    (tmp_path / "au.csv").write_text("frame, AU45_r\n1, 0.5\n")
    with pytest.raises(InputError, match="-2Dfp"):
        read(tmp_path / "au.csv")
    (tmp_path / "cut.csv").write_text(openface([(1, 1), (2, 1)], "frame, success", face)[:-300])
    with pytest.raises(InputError, match="cells in line 3"):
        read(tmp_path / "cut.csv")


def test_openface_1(shared):
    (found,) = read(shared / "keypoints/openface1_100rows.csv")
    assert len(found) == 100 and found.valid.all()
    np.testing.assert_allclose(found.keypoints[0, 0], [277.276, 181.19])
    assert found.confidence[0, 0] == pytest.approx(0.883333)


# ------------------------------------------------------------------ MediaPipe


def test_npz_needs_the_pictures_size(tmp_path, mesh):
    np.savez(tmp_path / "m.npz", landmarks=mesh[None])
    with pytest.raises(InputError, match="image_size"):
        read(tmp_path / "m.npz")
    (found,) = read(tmp_path / "m.npz", ReadOptions(image_size=(640, 480)))
    np.testing.assert_allclose(found.keypoints[0], mesh[:, :2] * (640, 480) - 0.5)
    assert found.layout is MEDIAPIPE478 and not found.is_clip


def test_npz_tells_frames_from_faces(tmp_path, mesh):
    gone = np.full_like(mesh, np.nan)
    np.savez(tmp_path / "clip.npz", landmarks=np.stack([mesh, gone, mesh]), image_size=[640, 480], fps=30.0)
    (clip,) = read(tmp_path / "clip.npz")
    assert clip.valid.tolist() == [True, False, True] and clip.fps == 30 and clip.is_clip
    np.savez(tmp_path / "people.npz", landmarks=np.stack([mesh + [0.3, 0, 0], mesh]), image_size=[640, 480])
    left, right = read(tmp_path / "people.npz")
    assert left.keypoints[0, 0, 0] < right.keypoints[0, 0, 0] and (left.person, right.person) == ("000", "001")


def test_npz_wrong_arrays_are_refused(tmp_path, mesh):
    np.savez(tmp_path / "a.npz", landmarks=mesh[None, :468])
    np.savez(tmp_path / "b.npz", points=mesh)
    np.savez(tmp_path / "c.npz", landmarks=mesh[None] * 500, image_size=[640, 480])
    for name, message in {"a.npz": r"\(1, 468, 3\)", "b.npz": "`landmarks`", "c.npz": "between 0 and 1"}.items():
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize("as_dict", [True, False])
def test_json_follows_people_through_a_clip(tmp_path, mesh, as_dict):
    """The order of the faces changes from frame to frame; the persons do not."""

    def dump(face: np.ndarray) -> list:
        return [dict(zip("xyz", p, strict=True)) if as_dict else list(p) for p in face.tolist()]

    other = mesh + [0.4, 0, 0]
    frames = [[dump(other), dump(mesh)], None, [dump(mesh), dump(other)], [dump(other)]]
    (tmp_path / "f.json").write_text(json.dumps({"image_size": [640, 480], "fps": 25, "frames": frames}))
    left, right = read(tmp_path / "f.json")
    assert left.valid.tolist() == [True, False, True, False] and right.valid.tolist() == [True, False, True, True]
    np.testing.assert_allclose(right.keypoints[3], other[:, :2] * (640, 480) - 0.5)
    assert left.is_clip and left.fps == 25


def test_json_of_one_picture(tmp_path, mesh):
    faces = [mesh.tolist(), (mesh + [0.4, 0, 0]).tolist()]
    (tmp_path / "f.json").write_text(json.dumps(faces))
    assert [len(o) for o in read(tmp_path / "f.json", ReadOptions(image_size=(64, 64)))] == [1, 1]
    (tmp_path / "g.json").write_text(json.dumps(faces[0]))
    assert len(read(tmp_path / "g.json", ReadOptions(image_size=(64, 64)))) == 1


@pytest.mark.parametrize("content", ["[[[[0.1, 0.2]]]]", '{"a": 1}', "[]", "[1, 2, 3]", '[[[{"q": 1}]]]', "[[", "7"])
def test_json_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(InputError, match=r"f\.json"):
        read(tmp_path / "f.json", ReadOptions(image_size=(64, 64)))


def test_real_npz(shared):
    folder = shared / "keypoints/mediapipe_face"
    (clip,) = read(folder / "single_face_video.npz")
    assert len(clip) == 72 and clip.valid.all() and clip.is_clip and clip.head_matrix.shape == (72, 4, 4)
    people = read(folder / "multi_face.npz")
    assert len(people) == 2 and people[0].keypoints[0, :, 0].mean() < people[1].keypoints[0, :, 0].mean()
