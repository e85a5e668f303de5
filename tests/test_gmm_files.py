"""SMPLify's gmm_08.pkl in the two forms it goes round in, and what is none."""

import pickle
import sys
import types

import pytest
import torch
from test_body_terms import random_mixture

from fitting.bodies.pose_priors import make_prior, read_gmm
from fitting.types import ModelError


def same(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("means", "whiten", "offsets"))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_dict_of_arrays(tmp_path, protocol):
    means, covars, weights = random_mixture(69)
    path = tmp_path / "gmm_08.pkl"
    path.write_bytes(pickle.dumps({"means": means, "covars": covars, "weights": weights}, protocol=protocol))
    for size in (69, 63):
        assert same(read_gmm(path, size), make_prior(path, means, covars, weights, size))


@pytest.mark.parametrize("protocol", [0, 2])
def test_the_object_of_an_old_scikit_learn(tmp_path, protocol):
    means, covars, weights = random_mixture(69)
    module = types.ModuleType("sklearn.mixture.gmm")
    module.GMM = type("GMM", (), {"__module__": module.__name__})
    mixture = module.GMM()
    mixture.means_, mixture.covars_, mixture.weights_ = means, covars, weights
    mixture.n_components, mixture.random_state, mixture.covariance_type = 8, None, "full"
    names = ("sklearn", "sklearn.mixture", module.__name__)
    kept = {name: sys.modules.get(name) for name in names}
    try:
        sys.modules |= {name: module for name in names}
        content = pickle.dumps(mixture, protocol=protocol)
    finally:
        for name, old in kept.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old
    path = tmp_path / "gmm_08.pkl"
    path.write_bytes(content)
    assert same(read_gmm(path, 63), make_prior(path, means, covars, weights, 63))


def test_what_is_no_mixture_is_named(tmp_path):
    path = tmp_path / "gmm_08.pkl"
    means, covars, weights = random_mixture(69)
    for content, said in (
        ([1, 2], "found list"),
        ({"means": means}, "no 'covars' in it, but means"),
        ({"means": means, "covars": covars[:, :5], "weights": weights}, r"covars \(8, 5, 69\)"),
        ({"means": means, "covars": 0 * covars, "weights": weights}, "not positive definite"),
    ):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(ModelError, match=said):
            read_gmm(path, 63)
    with pytest.raises(ModelError, match="does not exist"):
        read_gmm(tmp_path / "nothing.pkl", 63)


def test_a_hostile_one_is_refused(tmp_path):
    path = tmp_path / "gmm_08.pkl"
    path.write_bytes(b"cos\nsystem\n(S'echo this was run'\ntR.")
    with pytest.raises(ModelError, match="os.system|posix.system"):
        read_gmm(path, 63)
