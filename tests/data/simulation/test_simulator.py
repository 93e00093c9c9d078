from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import hydra
import innflow.conf
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy import stats
from torch.distributions import Independent

from data.own import write_module
from innflow.data.simulation.simulator import Simulator
from innflow.errors import InnflowError
from innflow.problem import traveltime

SOURCE = """
import numpy as np
import torch
from torch.distributions import Independent, Normal, Uniform
PARAMETERS = ("slope", "offset")
OBSERVABLES = ["left", "middle", "right"]
prior = Independent(Uniform(torch.tensor([0.0, -1.0]), torch.tensor([2.0, 1.0])), 1)
NOISE = np.array([[0.5, 0, 0], [0.2, 0.3, 0], [0, 0, 0.1]])
calls = []

def simulate(x):
    calls.append(len(x))
    return x[:, :1] * torch.tensor([-1.0, 0.0, 1.0]) + x[:, 1:]
def noisy(x):
    return simulate(x) + torch.randn(len(x), 1)
def echo(x):  # the noise that the generator of torch draws next
    return torch.cat([x, torch.rand_like(x)], 1)
def holes(x):
    return torch.where(x[:, :1] > 0.004, simulate(x), torch.nan)
def many_holes(x):
    return torch.where(x[:, :1] > 0.1, simulate(x), torch.nan)

class Stuck:
    def sample(self, shape):
        return torch.cat([torch.rand(*shape, 1), torch.full((*shape, 1), 4.0)], 1)

def posterior(y, n, rng, noise):
    assert noise is None or noise.shape == (3, 3) and noise.dtype == np.float64
    return y[:2] + rng.standard_normal((n, 2))
def log_likelihood(y, x): return -(y - simulate(x)).square().sum(1) / 2
def matrix(y, x): return y - simulate(x)
def broken(y, x): return y / x.bad
def holes_likelihood(y, x): return torch.where(x[:, 0] > 1, log_likelihood(y, x), torch.nan)
def endless(y, x): return torch.full((len(x),), torch.inf)
def wrong(y, n, rng, noise): return np.zeros((n, 3))
def fails(y, n, rng, noise): raise ArithmeticError("no mass")
"""


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Return a maker of data modules on a user's module in the current folder."""
    write_module(monkeypatch, tmp_path, SOURCE)

    def simulator(prior: str = "prior", forward: str = "simulate", **options) -> Simulator:
        return Simulator(f"mymodule.{prior}", f"mymodule.{forward}", **({"n": 600} | options))

    return simulator


def calls() -> list[int]:
    import sys

    return sys.modules["mymodule"].calls


def test_shapes_names_and_support_are_known_before_anything_is_simulated(make):
    data = make(noise="mymodule.NOISE")
    assert data.shapes == {"x": (2,), "y": (3,), "eps": (3,)}
    assert data.columns == {"x": ["slope", "offset"], "y": ["left", "middle", "right"]}
    assert data.support.low.tolist() == [0.0, -1.0]
    assert data.support.high.tolist() == [2.0, 1.0]
    assert isinstance(data.prior, Independent)
    assert torch.allclose(data.noise, torch.tensor([[0.5, 0, 0], [0.2, 0.3, 0], [0, 0, 0.1]]))
    assert make().noise is None
    assert make().shapes == {"x": (2,), "y": (3,)}
    assert sum(calls()) < 30


def test_sets_hold_parameters_data_and_their_noise(make):
    data = make(noise="mymodule.NOISE", n_test=300)
    sets = data.sets()
    roles = {name: (part.role, len(part)) for name, part in sets.items()}
    assert roles == {"train": ("train", 540), "val": ("val", 60), "test": ("inlier", 300)}
    names = [name for part in sets.values() for name in part.names]
    assert sorted(names) == sorted(
        [f"train/{i}" for i in range(600)] + [f"test/{i}" for i in range(300)]
    )
    for items in sets.values():
        parts = items.parts
        assert {part.dtype for part in parts.values()} == {torch.float32}
        clean = data.forward(parts["x"])
        assert torch.allclose(parts["y"], clean + parts["eps"] @ data.noise.T, atol=1e-6)
        assert data.support.contains(parts["x"]).all()
    whole = torch.cat([items.parts["x"] for items in sets.values()])
    assert len(whole.unique(dim=0)) == 900
    eps = torch.cat([items.parts["eps"] for items in sets.values()])
    assert len(eps.unique(dim=0)) == 900
    assert abs(eps.mean()) < 0.1
    assert abs(eps.std() - 1) < 0.1


def test_a_seed_repeats_everything_and_another_nothing(make):
    one, same, other = (make(noise=0.1, seed=seed).sets()["train"].parts for seed in (1, 1, 2))
    for part in ("x", "y", "eps"):
        assert torch.equal(one[part], same[part])
        assert not (one[part] == other[part]).any()


def test_a_model_does_not_draw_what_the_prior_has_drawn(make):
    """NumPy's SeedSequence takes [1, 2] for [1, 2, 0]."""
    data = make(forward="echo", n=600)
    parts = data.sets()["train"].parts
    drawn = parts["x"] / 2 + torch.tensor([0.0, 0.5])  # what torch.rand gave the prior
    assert not torch.isin((drawn * 1e4).round(), (parts["y"][:, 2:] * 1e4).round()).all()
    both = torch.cat([drawn, parts["y"][:, 2:]], 1)
    assert (torch.corrcoef(both.T) - torch.eye(4)).abs().max() < 0.2


def test_training_batches_draw_their_noise_anew(make):
    data = make(noise="mymodule.NOISE", batch_size=32)
    batch = next(iter(data.train_dataloader()))
    clean = batch["y"] - batch["eps"] @ data.noise.T
    data.trainer = SimpleNamespace(training=True, world_size=1, global_rank=0)
    one, two = (data.on_after_batch_transfer(dict(batch), 0) for _ in range(2))
    for redrawn in (one, two):
        assert torch.equal(redrawn["x"], batch["x"])
        assert not (redrawn["eps"] == batch["eps"]).any()
        assert torch.allclose(redrawn["y"] - redrawn["eps"] @ data.noise.T, clean, atol=1e-5)
    assert not (one["eps"] == two["eps"]).any()
    data.trainer = SimpleNamespace(training=False, world_size=1, global_rank=0)
    assert torch.equal(data.on_after_batch_transfer(dict(batch), 0)["y"], batch["y"])


def test_fresh_simulations_have_the_declared_noise(make):
    data = make(noise="mymodule.NOISE")
    x = torch.tensor([[1.0, 0.5]]).repeat(20_000, 1)
    residual = data.simulate(x, 3) - data.forward(x)
    covariance = data.noise @ data.noise.T
    assert torch.allclose(residual.T.cov(), covariance, atol=0.02)
    assert torch.equal(data.simulate(x[:9], 3), data.simulate(x[:9], 3))
    assert not torch.equal(data.simulate(x[:9], 3), data.simulate(x[:9], 4))


def test_whether_data_are_a_function_of_the_parameters(make):
    assert make().deterministic
    assert make(forward="holes").deterministic
    assert not make(forward="noisy").deterministic
    assert not make(noise=0.1).deterministic


def test_references_are_drawn_in_double_precision(make):
    assert make().reference is None
    data = make(reference="mymodule.posterior", noise="mymodule.NOISE")
    y = torch.tensor([10.0, 20.0, 30.0])
    draws = data.reference(y, 5000, seed=1)
    assert np.allclose(draws.mean(axis=0), [10, 20], atol=0.1)
    assert np.array_equal(draws, data.reference(y, 5000, seed=1))
    with pytest.raises(InnflowError, match=r"wrong: returns \(5, 3\), expected \(5, 2\)"):
        make(reference="mymodule.wrong").reference(y, 5, 0)
    with pytest.raises(InnflowError, match="fails: raises ArithmeticError: no mass"):
        make(reference="mymodule.fails").reference(y, 5, 0)
    with pytest.raises(InnflowError, match=r"data\.reference=mymodule\.NOISE: is no function"):
        make(reference="mymodule.NOISE")


def test_simulations_that_are_not_finite_are_left_out_and_announced(make, capsys):
    data = make(forward="holes", n=3000, n_test=10)
    sets = data.sets()
    count = len(sets["train"]) + len(sets["val"])
    assert 2970 <= count < 3000
    said = f"{3000 - count} of 3,000 simulations are not finite (NaN or infinite) and are left out"
    assert said in capsys.readouterr().out
    assert all(items.parts["y"].isfinite().all() for items in sets.values())
    with pytest.raises(InnflowError, match="are not finite, 1% of 600 may be"):
        make(forward="many_holes").sets()


def test_a_cache_is_used_again_until_something_changes(make, tmp_path, capsys):
    cache = tmp_path / "cache"
    first = make(noise=0.1, cache_dir=cache, n_test=20, processes=0).sets()
    assert len(list(cache.glob("*.npz"))) == 2
    before = sum(calls())
    assert before > 600
    again = make(noise=0.1, cache_dir=cache, n_test=20, processes=0).sets()
    assert sum(calls()) - before < 50
    assert "600 simulations from " in capsys.readouterr().out
    for name in first:
        for part in ("x", "y", "eps"):
            assert torch.equal(first[name].parts[part], again[name].parts[part])
    wider = make(noise=0.2, cache_dir=cache, n_test=20).sets()["test"].parts
    assert len(list(cache.glob("*.npz"))) == 2  # noise is added to what the cache holds
    assert torch.allclose(wider["y"] - 0.2 * wider["eps"], data_of(first["test"]), atol=1e-6)
    for change in ({"n": 601}, {"seed": 1}, {"forward": "holes"}, {"array": "torch", "n": 602}):
        count = len(list(cache.glob("*.npz")))
        make(**({"cache_dir": cache, "n_test": 20} | change)).sets()
        assert len(list(cache.glob("*.npz"))) > count, change


def data_of(items) -> torch.Tensor:
    return items.parts["y"] - 0.1 * items.parts["eps"]


def test_a_cache_notices_what_the_model_reads(make, monkeypatch, tmp_path):
    write_module(
        monkeypatch,
        tmp_path,
        SOURCE + "\ndef read(x): return x * float(open('velocity.txt').read())\n",
    )
    cache = tmp_path / "cache"
    for velocity in (2, 3):
        (tmp_path / "velocity.txt").write_text(str(velocity))
        parts = make(forward="read", cache_dir=cache, n_test=5).sets()["train"].parts
        assert torch.equal(parts["y"], velocity * parts["x"])


def test_it_pickles_before_and_after_it_has_simulated(make):
    data = make(noise=0.1, reference="mymodule.posterior")
    data.prior, data.deterministic  # noqa: B018 - what is kept of them must pickle too
    copy = pickle.loads(pickle.dumps(data))
    expected = data.sets()["train"].parts["y"]
    assert torch.equal(copy.sets()["train"].parts["y"], expected)
    assert torch.equal(pickle.loads(pickle.dumps(data)).sets()["train"].parts["y"], expected)


def test_names_and_support_can_be_given(make):
    data = make(parameters=["a", "b"], observables=["u", "v", "w"], support=[[0, None], [-1, 1]])
    assert data.columns == {"x": ["a", "b"], "y": ["u", "v", "w"]}
    assert data.support.high.tolist() == [np.inf, 1.0]
    unfit = make(forward="echo")  # of four observables, the module names three
    assert unfit.columns == {"x": ["slope", "offset"], "y": ["y0", "y1", "y2", "y3"]}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"parameters": ["a"]}, "data.parameters=['a']: give 2 different names"),
        ({"observables": ["u", "u", "v"]}, "give 3 different names"),
        ({"support": [[0, 1]]}, "1 intervals for 2 parameters"),
        ({"noise": [0.1, 0.2]}, "data.noise=[0.1, 0.2] has the shape (2,) for 3 observables"),
        ({"noise": "mymodule.NOIS"}, "data.noise=mymodule.NOIS: module mymodule has no attribute"),
        ({"forward": "simulat"}, "data.forward=mymodule.simulat: module mymodule has no attribute"),
        ({"prior": "PARAMETERS"}, "a tuple has no method sample"),
        ({"n": 1}, "data.n=1: give an integer of at least 2"),
        ({"n_test": 0}, "data.n_test=0"),
        ({"processes": -1}, "data.processes=-1"),
        ({"array": "jax"}, "data.array=jax is not known: choose from auto, torch, numpy"),
    ],
)
def test_settings_stop_in_the_constructor(make, options, says):
    with pytest.raises(InnflowError, match=re.escape(says)):
        make(**options)


def test_draws_that_are_constant_or_outside(make):
    with pytest.raises(InnflowError, match="offset is 4 in all draws from the prior"):
        make("Stuck").sets()
    with pytest.raises(InnflowError, match=r"parameter slope has the value .* outside its support"):
        make(support=[[0, 0.5], [None, None]]).sets()
    with pytest.raises(InnflowError, match=r"batch_size=1000 is more than the 540 training items"):
        make(batch_size=1000).train_dataloader()


PROBLEMS = Path(innflow.conf.__file__).parent / "data"
NAMED = [
    path.stem
    for path in sorted(PROBLEMS.glob("*.yaml"))
    if "reference: innflow.problem." in path.read_text() and path.stem != "dispersion"
]


@pytest.mark.representatives("two_moons", "gravity_linear")
@pytest.mark.parametrize("name", NAMED)
def test_every_problem_of_innflow_is_this_data_module(name):
    with hydra.initialize_config_dir(str(PROBLEMS.parent), version_base="1.3"):
        options = OmegaConf.to_container(hydra.compose(f"data/{name}"))["data"]
    assert options.pop("_target_") == "innflow.data.Simulator"
    options |= {"n": 600, "n_test": 5, "cache_dir": None, "seed": 0, "batch_size": 8}
    data = Simulator(**options)
    assert data.columns["x"][0] != "x0"
    assert data.columns["y"][0] != "y0"
    test = data.sets()["test"].parts
    draws = data.reference(test["y"][0], 50, seed=0)
    assert data.support.contains(torch.from_numpy(draws).float()).all()


X = torch.tensor([[1.5, 0.5], [0.5, -0.5], [2.5, 0.0]])  # the last is outside of the prior
Y = torch.tensor([-1.0, 0.0, 1.0])


def test_the_joint_density_has_the_likelihood_of_declared_noise(make):
    data = make(noise="mymodule.NOISE")
    found = data.log_joint(Y)(X)
    clean = data.forward(X[:2]).numpy()
    factor = np.array([[0.5, 0, 0], [0.2, 0.3, 0], [0, 0, 0.1]])
    noise = stats.multivariate_normal(np.zeros(3), factor @ factor.T)
    expected = noise.logpdf(Y.numpy() - clean) - math.log(4)
    np.testing.assert_allclose(found[:2], expected, rtol=1e-6)
    assert found[2] == -math.inf


def test_the_joint_density_has_the_given_likelihood(make):
    data = make(forward="noisy", log_likelihood="mymodule.log_likelihood")
    expected = -(Y - data._model.imported.module.simulate(X[:2])).square().sum(1) / 2 - math.log(4)
    found = pickle.loads(pickle.dumps(data)).log_joint(Y)(X)
    assert torch.allclose(found[:2], expected.double())
    assert found[2] == -math.inf
    data = make(log_likelihood="mymodule.holes_likelihood")
    assert data.log_joint(Y)(X)[1] == -math.inf


def test_parameters_without_data_have_no_likelihood(make):
    data = make(forward="holes", noise=0.1)
    found = data.log_joint(Y)(torch.tensor([[0.001, 0.0], [1.0, 0.0]]))
    assert found.isfinite().tolist() == [False, True]
    assert not found.isnan().any()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "no known likelihood: train with data.log_likelihood=module.function"),
        ({"forward": "noisy", "noise": 0.1}, "no known likelihood"),
        ({"noise": 0.1, "log_likelihood": "mymodule.log_likelihood"}, "leave one out"),
        (
            {"prior": "Stuck", "log_likelihood": "mymodule.log_likelihood"},
            "data.prior=mymodule.Stuck: has no log_prob",
        ),
    ],
)
def test_an_unknown_density_is_refused_at_once(make, options, says, refused):
    with refused(says):
        make(**options).log_joint(Y)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("matrix", "it returns the shape (4, 3), expected (4,)"),
        ("broken", "raises AttributeError"),
        ("endless", "returns infinity"),
        ("nothing", "has no attribute nothing"),
    ],
)
def test_a_likelihood_is_checked_in_the_constructor(make, name, says, refused):
    with refused(f"data.log_likelihood=mymodule.{name}", says):
        make(log_likelihood=f"mymodule.{name}")


def test_bounds_are_a_prior_in_the_config(make):
    data = make()
    data = Simulator({"a": [0, 2], "b": [-1, 1]}, "mymodule.simulate", noise=0.1, n=100)
    assert data.columns["x"] == ["a", "b"]
    assert data.support.high.tolist() == [2.0, 1.0]
    assert data.log_joint(Y)(X).isfinite().tolist() == [True, True, False]
    assert len(data.sets()["train"]) == 90


def test_the_joint_density_over_the_exact_posterior_is_the_evidence():
    """log p(x, y) - log p(x | y) = log p(y) for every x, of a linear Gaussian problem."""
    home = "innflow.problem.traveltime"
    data = Simulator(f"{home}.prior", f"{home}.forward", noise=f"{home}.NOISE", n=10)
    model, noise = traveltime.MODEL, np.eye(16)
    y = model.matrix @ model.mean + np.linspace(-3, 3, 16)
    x = model.draw(y, 50, np.random.default_rng(0), noise)
    posterior = stats.multivariate_normal(*model.moments(y, noise))
    evidence = stats.multivariate_normal(
        model.matrix @ model.mean,
        model.matrix @ model.covariance @ model.matrix.T + noise @ noise.T,
    )
    found = data.log_joint(torch.from_numpy(y))(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy() - posterior.logpdf(x), evidence.logpdf(y), atol=0.02)
