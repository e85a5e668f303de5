"""Files that hold arrays are read, whoever wrote them; files that hold anything else are refused and never run."""

from __future__ import annotations

import builtins
import collections
import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from made_files import chumpy_flame, fake_chumpy, flame_arrays, python2_pickle, save_object, with_state

from fitting.types import ModelError
from fitting.unpickle import load_npy_object, load_npz, load_pickle


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def same(a, b) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


# ------------------------------------------------------------------ what must be read


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol(tmp_path, protocol):
    value = {
        "numbers": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "turned": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        "big_endian": np.arange(3, dtype=">f4"),
        "text": np.array(["jaw", "neck"]),
        "flags": np.array([True, False]),
        "none": np.zeros((0, 3)),
        "scalar": np.float32(1.5),
        "objects": np.array([[1, 2], "a", None, np.ones(2)], dtype=object),
        "ordered": collections.OrderedDict(a=1),
        "default": collections.defaultdict(list, b=[2]),
        "set": {1, 2},
        "bytes": b"\x00\xff",
        "bytearray": bytearray(b"abc"),
        "type": np.float32,
        "complex": 1 + 2j,
    }
    read = load_pickle(saved(tmp_path / "a.pkl", pickle.dumps(value, protocol)))
    for name in ("numbers", "fortran", "turned", "big_endian", "text", "flags", "none", "scalar"):
        assert same(read[name], value[name]), name
    assert read["objects"].shape == (4,) and read["objects"][0] == [1, 2] and same(read["objects"][3], np.ones(2))
    assert read["ordered"] == {"a": 1} and read["default"] == {"b": [2]} and read["set"] == {1, 2}
    assert (read["bytes"], read["bytearray"], read["complex"]) == (b"\x00\xff", b"abc", 1 + 2j)
    assert read["type"] is np.float32


@pytest.mark.parametrize("kind", ["csc", "csr", "coo"])
@pytest.mark.parametrize("family", ["matrix", "array"])
def test_sparse_matrices(tmp_path, kind, family):
    dense = np.eye(4)[:3] * 2
    sparse = getattr(scipy.sparse, f"{kind}_{family}")(dense)
    read = load_pickle(saved(tmp_path / "a.pkl", pickle.dumps(sparse, 2)))
    assert read.format == kind and np.array_equal(read.toarray(), dense)


def test_python2_and_chumpy(tmp_path):
    arrays, content = chumpy_flame()
    assert b"chumpy.ch" in content and b"chumpy.reordering" in content and b"numpy.core" in content
    read = load_pickle(saved(tmp_path / "generic_model.pkl", content))
    for name in ("v_template", "shapedirs", "f", "weights", "kintree_table"):
        assert same(read[name], arrays[name]), name
    assert np.array_equal(read["J_regressor"].toarray(), arrays["J_regressor"].toarray())
    assert read["bs_style"] == "lbs"


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_chumpy_of_every_protocol(tmp_path, protocol):
    with fake_chumpy() as chumpy:
        content = pickle.dumps({"a": with_state(chumpy.Ch, x=np.arange(3.0))}, protocol)
    assert same(load_pickle(saved(tmp_path / "a.pkl", content))["a"], np.arange(3.0))


def test_chumpy_expression_is_named(tmp_path):
    with fake_chumpy() as chumpy:
        content = pickle.dumps(with_state(chumpy.add, b=1), 2)
    with pytest.raises(ModelError, match="chumpy.ch.add holds no array"):
        load_pickle(saved(tmp_path / "a.pkl", content))


def test_torch_tensors_inside_npy(tmp_path):
    whole = torch.arange(24.0).reshape(4, 6)
    value = {
        "whole": whole,
        "part": whole[1:3, ::2],
        "turned": whole.T.double(),
        "ints": torch.arange(3),
        "flags": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(whole),
    }
    read = load_npy_object(save_object(tmp_path / "a.npy", value))
    assert {name: type(array) for name, array in read.items()} == dict.fromkeys(value, np.ndarray)
    assert all(same(read[name], tensor.detach().numpy()) for name, tensor in value.items())


def test_plain_npy_and_npz(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(np.eye(3, dtype=np.float32)[:2]))
    assert same(load_npy_object(tmp_path / "a.npy"), np.eye(3, dtype=np.float32)[:2])
    np.savez_compressed(
        tmp_path / "a.npz", a=np.arange(4), b=np.array({"c": np.ones(2)}, dtype=object), d="text", e=np.zeros((0, 2))
    )
    read = load_npz(tmp_path / "a.npz")
    assert same(read["a"], np.arange(4)) and same(read["b"]["c"], np.ones(2)) and str(read["d"]) == "text"
    assert read["e"].shape == (0, 2)
    read["a"][0] = 7  # arrays are the reader's own


def test_shared_objects_are_read_once(tmp_path):
    value: list = []
    for _ in range(60):  # 2^60 leaves, if each mention were read anew
        value = [value, value]
    read = load_pickle(saved(tmp_path / "a.pkl", pickle.dumps(value)))
    assert read[0] is read[1]


# ------------------------------------------------------------------ what must be refused


class Calls:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(canary: Path) -> dict[str, object]:
    """Full name of what is called -> an object whose unpickling makes the file `canary`."""
    code = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    return {
        f"{os.system.__module__}.system": Calls(os.system, f"touch {canary}"),
        "builtins.eval": Calls(builtins.eval, code),
        "builtins.exec": Calls(builtins.exec, code),
        "builtins.getattr": Calls(getattr, "abc", "upper"),
        "subprocess.Popen": Calls(subprocess.Popen, ["touch", str(canary)]),
        "numpy.load": Calls(np.load, str(canary)),
        "torch.serialization.load": Calls(torch.load, str(canary)),
        "collections.Counter": collections.Counter("ab"),
    }


NAMES = tuple(hostile(Path("canary")))


def wrapped_files(folder: Path, thing: object) -> dict[str, tuple]:
    """The same hostile object in each place where a model file may hold objects."""
    with fake_chumpy() as chumpy:
        in_chumpy = python2_pickle({"v_template": with_state(chumpy.Ch, x=thing)})
    plain = saved(folder / "plain.pkl", pickle.dumps({**flame_arrays(1, 1), "v_template": thing}))
    nested = saved(folder / "nested.pkl", pickle.dumps({"a": np.array([[thing, 1], None], dtype=object)}))
    np.savez(folder / "a.npz", v_template=np.eye(3), b=np.array({"c": thing}, dtype=object))
    storage = Calls(torch.storage._load_from_bytes, torch_storage(thing))
    return {
        "plain": (load_pickle, plain),
        "protocol 0": (load_pickle, saved(folder / "zero.pkl", pickle.dumps({"a": thing}, 0, fix_imports=False))),
        "nested": (load_pickle, nested),
        "chumpy": (load_pickle, saved(folder / "chumpy.pkl", in_chumpy)),
        "factory": (load_pickle, saved(folder / "factory.pkl", pickle.dumps(Calls(collections.defaultdict, thing)))),
        "npy": (load_npy_object, save_object(folder / "landmark_embedding.npy", {"static_lmk_faces_idx": thing})),
        "npz": (load_npz, folder / "a.npz"),
        "torch": (load_npy_object, save_object(folder / "torch.npy", {"dynamic_lmk_faces_idx": storage})),
    }


def torch_storage(thing: object) -> bytes:
    """A storage as torch writes it, its third part (the system's type sizes) replaced by `thing`."""
    stream = io.BytesIO()
    torch.save(torch.zeros(2), stream, _use_new_zipfile_serialization=False)
    stream.seek(0)
    head = [pickle.load(stream) for _ in range(2)]
    return b"".join(pickle.dumps(part, 2, fix_imports=False) for part in (*head, thing))


@pytest.mark.parametrize("name", NAMES)
def test_hostile_files_are_refused_by_name_and_not_run(tmp_path, name):
    canary = tmp_path / "canary"
    for place, (load, path) in wrapped_files(tmp_path, hostile(canary)[name]).items():
        with pytest.raises(ModelError) as caught:
            load(path)
        message = str(caught.value)
        assert name in message and path.name in message and "not read" in message, (place, message)
        assert not canary.exists(), place


def test_the_canary_would_sing(tmp_path):
    """The files above are truly hostile: Python's own unpickler runs them."""
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(hostile(canary)["builtins.eval"]))
    assert canary.exists()


def test_attributes_cannot_be_set_on_what_is_allowed(tmp_path):
    """BUILD with a slot state sets attributes on whatever is on the stack, classes too."""
    for name in (b"numpy.core.multiarray\n_reconstruct", b"collections\ndefaultdict", b"collections\nOrderedDict"):
        with pytest.raises(ModelError):
            load_pickle(saved(tmp_path / "a.pkl", b"\x80\x02c" + name + b"\n(N}X\x05\x00\x00\x00valueK\x01s\x86tb."))
    assert same(load_pickle(saved(tmp_path / "b.pkl", pickle.dumps(np.eye(2)))), np.eye(2))


def test_arrays_that_lie_about_themselves(tmp_path):
    """Sizes that the content does not bear, flags that make numpy read bytes as addresses, indices out of bounds."""
    make, empty = np.array(0).__reduce__()[:2]
    dtype = np.dtype("f8")

    class Lies:
        def __init__(self, *state):
            self.state = state

        def __reduce__(self):
            return make, empty, self.state

    sparse = scipy.sparse.csc_matrix(np.eye(3))
    sparse.indices = np.array([0, 1, 1 << 30], dtype=np.int32)
    loop: list = []
    loop.append(loop)
    rebuild = torch.zeros(2).__reduce_ex__(2)
    far = (rebuild[1][0], 1 << 40, (2,), (1,), *rebuild[1][4:])
    wide = (rebuild[1][0], 0, (1 << 20, 1 << 20), (0, 0), *rebuild[1][4:])
    for lie in (
        Lies(1, (1 << 40,), dtype, False, b"12345678"),
        Lies(1, (-1,), dtype, False, b"12345678"),
        Lies(1, (1,), np.dtype("O"), False, b"12345678"),
        Lies(1, (1,), np.dtype([("a", "O")]), False, [1]),
        sparse,
        loop,
        Calls(rebuild[0], *far),
        Calls(rebuild[0], *wide),
        np.ma.array([1, 2]),
        np.recarray((1,), dtype=[("a", "f8")]),
    ):
        path = saved(tmp_path / "lie.pkl", pickle.dumps(lie, 2))
        with pytest.raises(ModelError, match="lie.pkl") as caught:
            if load_pickle(path).dtype == object:  # bytes taken as a list of small numbers do no harm
                raise ModelError("lie.pkl")
        assert caught.value.exit_code == 5


def test_npy_header_that_lies(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(1000))
    content = (tmp_path / "a.npy").read_bytes().replace(b"(1000,), ", b"(10**9),", 1)
    for lie in (content, content.replace(b"(10**9),", b"(99999,)")):
        with pytest.raises(ModelError, match="a.npy"):
            load_npy_object(saved(tmp_path / "a.npy", lie))


# ------------------------------------------------------------------ files that are not what they should be


LOADERS = {".pkl": load_pickle, ".npy": load_npy_object, ".npz": load_npz}
WRONG = {
    "empty": (b"", "empty"),
    "log-in page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "git-lfs pointer"),
    "gzip": (b"\x1f\x8b\x08\x00", "gzip"),
    "noise": (b"\x07" * 40, "damaged"),
}


@pytest.mark.parametrize("suffix", LOADERS)
@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_say_what_they_are(tmp_path, suffix, case):
    content, what = WRONG[case]
    path = saved(tmp_path / f"model{suffix}", content)
    with pytest.raises(ModelError) as caught:
        LOADERS[suffix](path)
    message = str(caught.value)
    assert str(path) in message and what in message and f"({len(content)} bytes)" in message and "What to do" in message


@pytest.mark.parametrize("suffix", LOADERS)
def test_missing_file_and_folder(tmp_path, suffix):
    with pytest.raises(ModelError, match="does not exist"):
        LOADERS[suffix](tmp_path / f"none{suffix}")
    with pytest.raises(ModelError, match="is a folder"):
        LOADERS[suffix](tmp_path)


def test_cut_off_files(tmp_path):
    arrays = flame_arrays(3, 2)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(arrays))
    save_object(tmp_path / "a.npy", arrays)
    np.savez(tmp_path / "a.npz", **{name: arrays[name] for name in ("v_template", "shapedirs")})
    for suffix, load in LOADERS.items():
        content = (tmp_path / f"a{suffix}").read_bytes()
        for share in (0.02, 0.5, 0.9, 0.999):
            path = saved(tmp_path / f"cut{suffix}", content[: int(len(content) * share)])
            with pytest.raises(ModelError, match=f"cut{suffix}.*cut off"):
                load(path)


def test_archive_in_place_of_a_pickle(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pkl", "w") as archive:
        archive.writestr("FLAME2020/generic_model.pkl", b"")
    with pytest.raises(ModelError, match="zip archive.*unpack it"):
        load_pickle(tmp_path / "model.pkl")
    with pytest.raises(ModelError, match="without any .npy"):
        load_npz(tmp_path / "model.pkl")
