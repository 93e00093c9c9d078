"""Run folders of other people: configs, stored overrides and checkpoints that were changed."""

from __future__ import annotations

import io
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import strategies as st

import innflow
from chaos.explore import explore
from chaos.hostile import STORED, Bomb, attacks, lay
from chaos.sandbox import REFUSED, WORKED, Answer, Sandbox, Short, check_refusal, require
from chaos.settings import share
from chaos.values import damaged, mutated, scalars, typed, values
from innflow.app.module import FORMAT
from innflow.config.message import one_line
from innflow.errors import InnflowError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

hostile = st.one_of(attacks(), values)
RESUME = ("innflow-train", "run_dir=run", "ckpt=last", "trainer.max_steps=3")


def finite(here: Path) -> None:
    """Check that a resumed run has finite weights."""
    for name in ("best", "last"):
        state = torch.load(here / f"run/checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
        bad = [key for key, value in state.items() if not torch.as_tensor(value).isfinite().all()]
        require(not bad, f"worked, and {name}.ckpt has {bad[:1]} that are not finite")


def resume(box: Sandbox) -> str:
    """Resume the run in a sandbox."""
    lay(box.here)
    return box.call(*RESUME, may_write=["run", "__pycache__"], right=lambda _: finite(box.here))


def test_configs(case, moons_run):
    text = (moons_run / "config.yaml").read_text()
    config = yaml.safe_load(text)
    tree = mutated(config, hostile).map(lambda new: Change(new, config))
    changed = st.one_of(tree, tree, damaged(text.encode()).map(Quiet), st.binary())

    def check(content: Any) -> str:
        with case() as box:
            shutil.copytree(moons_run, box.here / "run")
            data = content if isinstance(content, bytes) else dump(content.new)
            (box.here / "run/config.yaml").write_bytes(data)
            return resume(box)

    explore("config.yaml of a run", changed, share(4), check)


def dump(content: Any) -> bytes:
    """Return YAML; what YAML cannot hold is written as its text."""
    return yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogateescape")


def test_stored_overrides(case, moons_run):
    stored = yaml.safe_load((moons_run / "overrides.yaml").read_text())
    entry = st.one_of(
        st.sampled_from(STORED), typed(), st.builds("{}={}".format, st.just("model.depth"), typed())
    )
    lists = st.builds(
        lambda new, at: [*stored[:at], new, *stored[at:]], entry, st.integers(0, len(stored))
    )
    text = (moons_run / "overrides.yaml").read_bytes()
    changed = st.one_of(lists, lists, mutated(stored, hostile), damaged(text), values)

    def check(content: Any) -> str:
        with case() as box:
            shutil.copytree(moons_run, box.here / "run")
            data = content if isinstance(content, bytes) else dump(content)
            (box.here / "run/overrides.yaml").write_bytes(data)
            return resume(box)

    explore("overrides.yaml of a run", changed, share(3), check)


def outcome(run: Path) -> dict[str, Any]:
    """Return everything that a loaded run computes."""
    app = innflow.load(run)
    x = torch.tensor([[0.5, 0.25], [-1.0, 2.0]])
    found = {"log_prob": app.log_prob(x), "sample": app.sample(3, seed=0)}
    return found | {key: torch.as_tensor(value) for key, value in app.score(x).items()}


def load(box: Sandbox, same: dict[str, Any] | None) -> str:
    """Load the run of a sandbox in this process; compare it with `same`, or require numbers."""
    before = box.snapshot()
    try:
        found = outcome(box.here / "run")
    except InnflowError as error:
        check_refusal(Answer(2, "", f"innflow: error: {one_line(error)}\n"))
        return REFUSED
    except Exception as error:
        import traceback

        place = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if "innflow" in str(frame.filename)
        ]
        where = f"{Path(place[-1].filename).name}:{place[-1].name}" if place else ""
        raise Short(f"{type(error).__name__} in {where}: {str(error).splitlines()[:1]}") from None
    finally:
        require(not box.mark.exists(), "ran code")
        require(box.snapshot() == before, "made or changed files")
    for name, value in found.items():
        if same is None:
            require(value.isfinite().all(), f"worked, and {name} is not finite")
        else:
            require(torch.equal(value, same[name]), f"worked, and {name} is another")
    return WORKED


@pytest.mark.parametrize("name", ["checkpoints/best.ckpt", "scores.npz"])
def test_damaged_files(name, case, moons_run):
    content, whole = (moons_run / name).read_bytes(), outcome(moons_run)

    def check(data: bytes) -> str:
        with case() as box:
            shutil.copytree(moons_run, box.here / "run")
            (box.here / "run" / name).write_bytes(data)
            return load(box, whole)

    cases = st.one_of(damaged(content), damaged(content), st.binary())
    explore(f"{Path(name).name} with damaged bytes", cases.map(Quiet), share(9), check)


class Quiet(bytes):
    """Bytes whose text is short."""

    def __repr__(self) -> str:
        return f"{len(self):,} bytes {hash(bytes(self)):x}"


def test_changed_checkpoints(case, moons_run):
    """Written by torch.save: what another person's program may have put in."""
    checkpoint = torch.load(moons_run / "checkpoints/best.ckpt", weights_only=True)
    tensors = st.sampled_from(
        (
            *(torch.full((1,), value) for value in (math.nan, math.inf, 1e38)),
            *(torch.zeros(0), torch.zeros(3, 3), torch.zeros(1).expand(1 << 40)),
            *(torch.ones(2, dtype=torch.int8), torch.ones(2, dtype=torch.complex64)),
            *(torch.eye(2).to_sparse(), torch.zeros(4, device="meta")),
            torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        )
    )
    config = checkpoint["innflow"]["config"]
    inner = st.builds(
        lambda new: {**checkpoint, "innflow": {**checkpoint["innflow"], "config": new}},
        mutated(config, hostile),
    )
    state = st.builds(
        lambda new: {**checkpoint, "state_dict": new},
        mutated(dict(checkpoint["state_dict"]), st.one_of(tensors, scalars)),
    )
    own = st.builds(
        lambda new: {**checkpoint, "innflow": new}, mutated(checkpoint["innflow"], hostile)
    )
    bomb = {"state_dict": {}, "innflow": {"format": FORMAT, "config": Bomb()}}
    whole = st.one_of(mutated(checkpoint, st.one_of(tensors, hostile)), st.just(bomb), hostile)

    def check(change: Change) -> str:
        with case() as box:
            shutil.copytree(moons_run, box.here / "run")
            lay(box.here)
            buffer = io.BytesIO()
            torch.save(change.new, buffer)
            (box.here / "run/checkpoints/best.ckpt").write_bytes(buffer.getvalue())
            return load(box, None)

    cases = st.one_of(inner, state, own, whole)
    cases = cases.map(lambda new: Change(new, checkpoint))
    explore("checkpoints with changed values", cases, share(13), check)


def test_resumed_checkpoints(case, moons_run):
    """Whatever training is continued from: weights, optimizer, progress, random states."""
    content = (moons_run / "checkpoints/last.ckpt").read_bytes()
    checkpoint = torch.load(io.BytesIO(content), weights_only=True)
    trees = mutated(checkpoint, hostile).map(lambda new: Change(new, checkpoint))

    def check(change: Any) -> str:
        with case() as box:
            shutil.copytree(moons_run, box.here / "run")
            if isinstance(change, Change):
                torch.save(change.new, box.here / "run/checkpoints/last.ckpt")
            else:
                (box.here / "run/checkpoints/last.ckpt").write_bytes(change)
            return resume(box)

    cases = st.one_of(trees, trees, damaged(content).map(Quiet))
    explore("last.ckpt of a resumed run", cases, share(2), check)


class Change:
    """A checkpoint, shown by what differs from the original."""

    def __init__(self, new: Any, old: Any) -> None:
        self.new, self.old = new, old

    def __repr__(self) -> str:
        return ", ".join(differences(self.new, self.old))[:300]


def differences(new: Any, old: Any, path: str = "") -> list[str]:
    """Return `path=value` of everything in which two trees differ."""
    if new is old:
        return []
    if isinstance(new, dict) and isinstance(old, dict):
        gone = [f"{path}.{key} is gone" for key in old if key not in new]
        found = (differences(new[key], old.get(key), f"{path}.{key}") for key in new)
        return gone + [each for inner in found for each in inner]
    if isinstance(new, torch.Tensor):
        return [f"{path}={new.dtype} {tuple(new.shape)} {new.device} {new.layout}"]
    return [] if type(new) is type(old) and new == old else [f"{path}={new!r}"]
