"""A damaged or wrong checkpoint is refused in one line, whatever is wrong with it."""

from __future__ import annotations

import copy
import random
import shutil
from pathlib import Path

import pytest
import torch
from tiny import TINY_MOONS, train

import innflow
from innflow.app.module import FORMAT
from innflow.errors import InnflowError
from innflow.run.checkpoint import read_checkpoint
from innflow.system.tree import walk

FLIPS, TRIALS = 60, 4
SHORT = ("analysis=none", "score=none", "callbacks.progress=null", "trainer.max_steps=3")
WRONG = (None, True, -1, 10**12, 1e300, float("nan"), "text", "", b"bytes", [], {}, [1], {"a": 1})
ODD = (torch.zeros(()), torch.zeros(0), torch.zeros(3, dtype=torch.int64), torch.eye(2) * 1j)


@pytest.fixture(scope="module")
def best(trained: Path) -> Path:
    return trained / "checkpoints" / "best.ckpt"


def load_or_refuse(path: Path) -> str:
    """Load a checkpoint; return the line of its refusal, or nothing where it was accepted."""
    try:
        innflow.load(path)
    except InnflowError as error:
        line = str(error)
        assert "\n" not in line
        assert str(path) in line
        return line
    return ""


def test_no_flipped_bit_is_loaded_in_silence(best, tmp_path):
    """A flip between the entries of the archive, which nothing reads, may pass."""
    path, data = tmp_path / "flipped.ckpt", best.read_bytes()
    whole, chosen = innflow.load(best), random.Random(0)
    silent = 0
    for _ in range(FLIPS):
        flipped = bytearray(data)
        flipped[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
        path.write_bytes(flipped)
        if load_or_refuse(path):
            continue
        silent += 1
        again = innflow.load(path)
        assert again.config == whole.config
        state = again.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())
    assert silent < FLIPS / 2


def test_the_damaged_tensor_is_named(best, tmp_path):
    state = torch.load(best, weights_only=True)["state_dict"]
    name = max(state, key=lambda each: state[each].numel() if "weight" in each else 0)
    path, data = tmp_path / "flipped.ckpt", bytearray(best.read_bytes())
    at = data.find(state[name].numpy().tobytes())
    data[at + 5] ^= 1
    path.write_bytes(data)
    assert f"damaged, state_dict.{name} differs" in load_or_refuse(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(best, tmp_path, value):
    checkpoint = torch.load(best, weights_only=True)
    weights = [name for name in checkpoint["state_dict"] if name.endswith("weight")]
    checkpoint["state_dict"][weights[-1]].view(-1)[0] = value
    torch.save(checkpoint, tmp_path / "wrong.ckpt")
    assert f"{weights[-1]} is not finite" in load_or_refuse(tmp_path / "wrong.ckpt")


def changed(tree, where, value):
    """Return a copy of a tree with another value at a path of keys."""
    tree = copy.deepcopy(tree)
    node = tree
    for key in where[:-1]:
        node = node[key]
    node[where[-1]] = value
    return tree


def places(tree, path=()):
    """Yield the path of keys of every value in dicts and lists."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


@pytest.mark.parametrize("part", ["state_dict", "innflow"])
def test_a_value_of_a_wrong_kind_is_loaded_or_refused_in_one_line(part, best, tmp_path):
    checkpoint, chosen = torch.load(best, weights_only=True), random.Random(part)
    whole = {key: checkpoint[key] for key in ("state_dict", "innflow")}
    targets = [(part,), *((part, *path) for path in places(whole[part]))]
    path, refusals = tmp_path / "wrong.ckpt", 0
    for _ in range(60):
        where = chosen.choice(targets)
        value = chosen.choice([*WRONG, *ODD])
        torch.save(changed(whole, where, value), path)
        try:
            refusals += bool(load_or_refuse(path))
        except Exception as error:
            raise AssertionError(f"{where} = {value!r}") from error
    assert refusals > 30


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        (("state_dict",), [1], "state_dict is of a wrong kind"),
        (("innflow", "config"), "text", "config is of a wrong kind"),
        (("innflow", "shapes"), {"x": [-2]}, "greater than 0"),
        (("innflow", "shapes"), {"x": 2}, "shapes.x is of a wrong kind"),
        (("innflow", "columns"), {"x": [1, 2]}, "columns.x.0 is of a wrong kind"),
        (("innflow", "format"), str(FORMAT), "format '"),
        (("innflow", "config", "model", "depth"), "two", "model.depth='two'"),
        (("innflow", "config", "model", "depth"), -2, "depth=-2 must be at least 1"),
        (("innflow", "config", "model"), [1], "model"),
        (("innflow", "config", "app", "_target_"), "innflow.flow.vector", "app"),
        (("innflow", "config", "partition"), {"left": 3}, "partition: "),
    ],
)
def test_the_wrong_entry_is_named(where, value, reason, best, tmp_path):
    checkpoint = torch.load(best, weights_only=True)
    torch.save(changed(checkpoint, where, value), tmp_path / "wrong.ckpt")
    assert reason in load_or_refuse(tmp_path / "wrong.ckpt")


def test_weights_of_another_type_are_refused(best, tmp_path):
    checkpoint = torch.load(best, weights_only=True)
    name = next(name for name in checkpoint["state_dict"] if name.endswith("weight"))
    checkpoint["state_dict"][name] = checkpoint["state_dict"][name].half()
    torch.save(checkpoint, tmp_path / "wrong.ckpt")
    assert f"{name} is torch.float16, not torch.float32" in load_or_refuse(tmp_path / "wrong.ckpt")


def test_the_state_of_a_training_is_read_only_for_resuming(best, tmp_path):
    checkpoint = torch.load(best, weights_only=True)
    torch.save({key: checkpoint[key] for key in ("state_dict", "innflow")}, tmp_path / "small.ckpt")
    assert not load_or_refuse(tmp_path / "small.ckpt")
    with pytest.raises(InnflowError, match="epoch is of a wrong kind: field required"):
        read_checkpoint(tmp_path / "small.ckpt", resume=True)
    assert not [key for key, _ in walk(checkpoint["callbacks"]) if "innflow" in key]


@pytest.mark.representatives("0")
@pytest.mark.parametrize("seed", range(20))
def test_a_training_goes_on_from_a_wrong_state_or_is_refused(seed, vector_run, tmp_path):
    """Four values of the state are of a wrong kind, one at a time."""
    parts = ("epoch", "loops", "callbacks", "optimizer_states", "lr_schedulers", "resume")
    chosen, done = random.Random(seed), 0
    for number in range(TRIALS):
        run = Path(shutil.copytree(vector_run, tmp_path / str(number)))
        path = run / "checkpoints/last.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        part = chosen.choice(parts)
        tree = checkpoint[part]
        within = [] if isinstance(tree, int) else [(part, *where) for where in places(tree)]
        where = chosen.choice([(part,), *within])
        value = chosen.choice([None, "text", b"bytes", [], {}, [1], {"a": 1}, -1, *ODD])
        torch.save(changed(checkpoint, where, value), path)
        line = ""
        try:
            train(run, *TINY_MOONS, *SHORT, "ckpt=last")
            done += 1
        except InnflowError as error:
            line = str(error)
        except Exception as error:
            raise AssertionError(f"{where} = {value!r}") from error
        assert "\n" not in line
    assert seed or done < TRIALS  # values of other seeds may all be harmless
