"""VPoser: both kinds of checkpoint against the network written as a torch module; its derivative; hostile files."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from torch import nn

from fitting.bodies.body import moved
from fitting.bodies.vposer import read_vposer
from fitting.types import ModelError


class RotationColumns(nn.Module):
    """126 numbers to 21 rotations: two columns each, made orthogonal one after the other."""

    def forward(self, x):
        a, b = x.view(-1, 3, 2).unbind(-1)
        first = nn.functional.normalize(a, dim=1)
        second = nn.functional.normalize(b - (first * b).sum(dim=1, keepdim=True) * first, dim=1)
        return torch.stack([first, second, torch.cross(first, second, dim=1)], dim=2).view(-1, 21, 3, 3)


def first_version():
    torch.manual_seed(1)
    net = nn.Module()
    for name, sizes in {"fc1": (32, 512), "fc2": (512, 512), "out": (512, 126)}.items():
        setattr(net, f"bodyprior_dec_{name}", nn.Linear(*sizes))
    net.bodyprior_enc_bn1 = nn.BatchNorm1d(63)
    net.bodyprior_enc_mu = nn.Linear(512, 32)

    def decode(z):
        x = nn.functional.leaky_relu(net.bodyprior_dec_fc1(z), negative_slope=0.2)
        x = nn.functional.leaky_relu(net.bodyprior_dec_fc2(x), negative_slope=0.2)
        return RotationColumns()(net.bodyprior_dec_out(x))

    return net, decode


def second_version():
    torch.manual_seed(2)
    net = nn.Module()
    net.encoder_net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(63), nn.Linear(63, 512))
    net.decoder_net = nn.Sequential(
        nn.Linear(32, 512), nn.LeakyReLU(), nn.Dropout(0.1), nn.Linear(512, 512), nn.LeakyReLU(), nn.Linear(512, 126),
        RotationColumns(),
    ).eval()  # fmt: skip
    return net, net.decoder_net


def write_first(folder: Path, zipped: bool = True) -> Path:
    net, decode = first_version()
    (folder / "snapshots").mkdir(parents=True)
    (folder / "vposer_v1_0.ini").write_text("[DEFAULT]\nlatentD = 32\nnum_neurons = 512\ndata_shape = [1, 21, 3]\n")
    (folder / "vposer_smpl.py").write_text("raise SystemExit('this file was run')\n")
    torch.save(net.state_dict(), folder / "snapshots" / "TR00_E096.pt", _use_new_zipfile_serialization=zipped)
    return folder


def write_second(folder: Path, **extra) -> Path:
    """As Lightning writes it: weights under a prefix, and whatever else the training kept."""
    net, decode = second_version()
    (folder / "snapshots").mkdir(parents=True)
    (folder / "V02_05.yaml").write_text("model_params:\n  num_neurons: 512\n  latentD: 32\n")
    weights = {f"vp_model.{name}": value for name, value in net.state_dict().items()}
    weights["bm_train.v_template"] = torch.zeros(1, 5, 3)
    content = {"epoch": 13, "global_step": 1, "pytorch-lightning_version": "1.0.8", "state_dict": weights, **extra}
    torch.save(content, folder / "snapshots" / "V02_05_epoch=13_val_loss=0.03.ckpt")
    return folder


def of_foreign_class(module_name: str, class_name: str, base: type = object):
    """An object of a class that is there while the file is written and gone when it is read."""
    kind = type(class_name, (base,), {"__module__": module_name})
    modules = [".".join(module_name.split(".")[: k + 1]) for k in range(module_name.count(".") + 1)]
    for name in modules:
        sys.modules[name] = types.ModuleType(name)
    setattr(sys.modules[module_name], class_name, kind)
    return kind, modules


@pytest.mark.parametrize("zipped", [True, False])
def test_version_1_decodes_as_the_network_does(tmp_path, zipped):
    vposer = read_vposer(write_first(tmp_path / "vposer_v1_0", zipped))
    z = torch.randn(7, 32)
    assert vposer.version == 1 and vposer.block.size == 32 and vposer.target == "body_pose"
    torch.testing.assert_close(vposer.decode(z), first_version()[1](z), rtol=0, atol=2e-6)


def test_version_2_decodes_as_the_network_does(tmp_path):
    vposer = read_vposer(write_second(tmp_path / "V02_05"))
    z = torch.randn(7, 32)
    assert vposer.version == 2
    torch.testing.assert_close(vposer.decode(z), second_version()[1](z), rtol=0, atol=2e-6)


def test_what_lightning_keeps_beside_the_weights_is_dropped(tmp_path):
    kind, made = of_foreign_class("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    settings, more = of_foreign_class("human_body_prior.tools.configurations", "Settings", dict)
    callback = kind()
    callback.best = 0.03
    try:
        folder = write_second(
            tmp_path / "V02_05", callbacks={kind: {"best": np.float64(0.03)}, "one": callback},
            hyper_parameters=settings(lr=1e-3), optimizer_states=[{"state": {0: {"exp_avg": torch.zeros(3)}}}],
        )  # fmt: skip
    finally:
        for name in {*made, *more}:
            del sys.modules[name]
    z = torch.randn(3, 32)
    torch.testing.assert_close(read_vposer(folder).decode(z), second_version()[1](z), rtol=0, atol=2e-6)


class Hostile:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file was run')",))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, zipped):
    (tmp_path / "snapshots").mkdir()
    path = tmp_path / "snapshots" / "TR00_E096.pt"
    torch.save({"state_dict": Hostile()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match="exec"):
        read_vposer(tmp_path)


def test_errors_name_both_kinds(tmp_path):
    with pytest.raises(ModelError, match="does not exist: version 1 .* version 2"):
        read_vposer(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ModelError, match=r"no snapshot in it \(found notes.txt\): version 1 .* version 2"):
        read_vposer(tmp_path)
    torch.save({"something": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="no decoder of VPoser in it"):
        read_vposer(tmp_path / "other.pt")


@pytest.mark.parametrize("write", [write_first, write_second])
def test_steps_equal_the_numerical_derivative(tmp_path, write):
    """Of exp(step) R, with the decoder in float64."""
    vposer = read_vposer(write(tmp_path / "x"))
    vposer = moved(vposer, torch.zeros(0).double())
    z = torch.randn(2, 3, 32, dtype=torch.float64)
    steps = vposer.steps(z)
    assert steps.shape == (2, 3, 63, 32)
    h = 1e-6
    for k in range(0, 32, 5):
        along = torch.zeros(32, dtype=torch.float64)
        along[k] = h
        turn = vposer.decode(z + along) @ vposer.decode(z - along).mT
        numerical = roma.rotmat_to_rotvec(turn).flatten(-2) / (2 * h)
        torch.testing.assert_close(steps[..., k], numerical, rtol=1e-5, atol=1e-7)


def test_smpls_hands_stay_at_rest(tmp_path):
    folder = write_first(tmp_path / "vposer_v1_0")
    z = torch.randn(4, 32)
    smpl, smplx = read_vposer(folder, 23), read_vposer(folder)
    assert torch.equal(smpl.decode(z)[:, :21], smplx.decode(z))
    assert torch.equal(smpl.decode(z)[:, 21:], torch.eye(3).expand(4, 2, 3, 3))
    assert torch.equal(smpl.steps(z)[:, :63], smplx.steps(z)) and not smpl.steps(z)[:, 63:].any()
