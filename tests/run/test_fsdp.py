"""Sharded parameters: the same training, the same results, and a checkpoint like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import NOTE, TWO, difference, noted, on_two_ranks
from tiny import train

import innflow
from run.test_ddp import ARM, CLOSE, MOONS, assert_as_alone

INVERSE = (
    *(each for each in ARM if not each.startswith(("callbacks", "latent", "partition"))),
    *("partition=x_yz", "latent=observed", "objective=mmd", "model.hidden=[8]"),
    *("optimizer.lr=1e-3", "trainer.max_steps=4", "trainer.max_epochs=-1"),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Folder of runs on two ranks that share the parameters, and of the same by one process."""
    folder = tmp_path_factory.mktemp("shared")
    shared = (*TWO, *NOTE, "strategy=fsdp")
    moons = (*MOONS, *shared, "+callbacks.note.ask=true")
    jobs = [
        (folder / "moons", moons),
        (folder / "cut", (*moons, "trainer.max_steps=3")),
        (folder / "cut", (*moons, "ckpt=last")),
        (folder / "inverse", (*INVERSE, *shared)),
    ]
    for said in on_two_ranks(folder, jobs):
        assert isinstance(said[0], dict), said
    train(folder / "alone", *MOONS, *NOTE)
    return folder


@pytest.mark.extended
def test_training_is_that_of_one_process(runs):
    assert_as_alone(runs / "moons", runs / "alone")


@pytest.mark.extended
def test_each_rank_holds_its_share(runs):
    shares = [noted(runs / "moons", rank) for rank in (0, 1)]
    whole = noted(runs / "alone", 0)["sizes"]
    assert sum(share["sizes"] for share in shares) == whole
    assert max(share["sizes"] for share in shares) < 0.6 * whole
    assert all(share["kinds"] == ["DTensor"] for share in shares)


@pytest.mark.extended
def test_the_checkpoint_loads_without_the_strategy(runs):
    app = innflow.load(runs / "moons", "last")
    assert difference(app.state_dict(), noted(runs / "alone", 0)["weights"]) < CLOSE
    saved = torch.load(runs / "moons/checkpoints/last.ckpt", weights_only=True)
    other = torch.load(runs / "alone/checkpoints/last.ckpt", weights_only=True)
    assert list(saved["state_dict"]) == list(other["state_dict"])
    assert list(saved["optimizer_states"][0]["state"]) == list(
        other["optimizer_states"][0]["state"]
    )


@pytest.mark.extended
def test_a_resumed_run_is_as_one_that_was_never_cut(runs):
    cut, straight = (noted(runs / name, 0)["weights"] for name in ("cut", "moons"))
    assert difference(cut, straight) < 1e-6


@pytest.mark.extended
def test_questions_are_answered_while_parameters_are_divided(runs):
    """Both ranks ask at the last validation, whose weights last.ckpt holds."""
    first, second = (noted(runs / "moons", rank)["answers"] for rank in (0, 1))
    app = innflow.load(runs / "moons", "last")
    x = torch.linspace(-1, 1, 8).reshape(4, 2)
    expected: dict[str, Any] = {
        "sample": app.sample(4, seed=0),
        "log_prob": app.log_prob(x),
        "z": app.encode(x),
    }
    for name, value in expected.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, atol=1e-5, rtol=1e-5)
    assert float(first["back"].abs().max()) < 1e-5


@pytest.mark.extended
def test_losses_go_back_through_the_flow(runs):
    """The way back is a part of this objective's gradient."""
    first, second = (noted(runs / "inverse", rank) for rank in (0, 1))
    assert difference(first["weights"], second["weights"]) == 0
    moved = innflow.load(runs / "inverse").posterior(torch.zeros(2), n=5, seed=0)
    assert moved.isfinite().all()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("trainer.devices=1",), ("strategy=fsdp", "trainer.devices=2")),
        (("trainer.devices=2", "compile=true"), ("compile=true", "strategy=fsdp")),
        (("trainer.devices=2", "reversible=true"), ("reversible=true", "strategy=fsdp")),
        (("trainer.devices=2", "+extra=ema"), ("callbacks.ema", "strategy=ddp")),
        (("trainer.devices=2", "+extra=find_lr"), ("callbacks.find_lr", "strategy=ddp")),
    ],
)
def test_what_it_cannot_do_is_refused(given, named, tmp_path, refused):
    with refused(*named):
        train(tmp_path / "run", *MOONS, "strategy=fsdp", *given)
    assert list(tmp_path.iterdir()) == []
