from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import innflow
from innflow.app import Density
from innflow.app.module import FORMAT
from innflow.errors import InnflowError
from innflow.run.checkpoint import find_checkpoint, read_checkpoint
from innflow.run.load import MODEL, assemble

PLAIN = (dict, list, tuple, str, int, float, bool, type(None), torch.Tensor)


class Mine(nn.Module):
    """A coupling network that innflow does not know; noted when it is made."""

    made: list[Mine] = []  # noqa: RUF012

    def __init__(self, inputs, outputs, context=0, hidden=()):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        Mine.made.append(self)

    def forward(self, x, context=None):
        return self.linear(x)


class Bomb:
    """What unpickling must never call."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def leaves(value):
    """Yield every object of a nested value, containers included."""
    yield value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(key)
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)


@pytest.fixture
def best(trained: Path) -> Path:
    return trained / "checkpoints" / "best.ckpt"


@pytest.fixture
def spoilt(best, tmp_path):
    """Return a function that changes a checkpoint's dict and writes it elsewhere."""

    def write(change) -> Path:
        checkpoint = torch.load(best, weights_only=True)
        change(checkpoint)
        path = tmp_path / "spoilt.ckpt"
        torch.save(checkpoint, path)
        return path

    return write


def test_checkpoints_hold_tensors_and_plain_types_only(trained):
    for name in ("best", "last"):
        checkpoint = torch.load(trained / "checkpoints" / f"{name}.ckpt", weights_only=True)
        others = {type(x) for x in leaves(checkpoint) if not isinstance(x, PLAIN)}
        assert not others
        assert {"innflow", "state_dict", "optimizer_states", "callbacks"} <= checkpoint.keys()


def test_a_checkpoint_needs_no_file_besides_itself(best, tmp_path, monkeypatch):
    x = torch.randn(5, 2)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moved.ckpt").write_bytes(best.read_bytes())
    first, second = innflow.load(best), innflow.load("moved.ckpt")
    assert torch.equal(first.log_prob(x), second.log_prob(x))
    assert isinstance(first, Density)
    assert not first.training


def test_load_gives_back_the_trained_application(trained, config):
    x = torch.randn(20, 2)
    fresh = assemble(config, {"x": (2,)})
    fresh.load_state_dict(read_checkpoint(find_checkpoint(trained, "last"))["state_dict"])
    loaded = innflow.load(trained, "last")
    assert torch.equal(loaded.log_prob(x), fresh.log_prob(x))
    assert torch.equal(loaded.sample(4, seed=1), fresh.sample(4, seed=1))
    assert loaded.config == config


def test_which_checkpoint(trained, tmp_path, refused):
    assert find_checkpoint(trained).name == "best.ckpt"
    assert find_checkpoint(trained, "last").name == "last.ckpt"
    assert find_checkpoint(trained / "checkpoints" / "best.ckpt").name == "best.ckpt"
    with refused("ckpt=lsat is unknown", "best or last"):
        find_checkpoint(trained, "lsat")
    with refused(f"run={tmp_path / 'none'}", "does not exist"):
        innflow.load(tmp_path / "none")
    with refused(f"run={tmp_path}", "no checkpoints/best.ckpt there"):
        innflow.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(best, tmp_path, share, refused):
    path, data = tmp_path / "cut.ckpt", best.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with refused(str(path), "damaged"):
        innflow.load(path)


@pytest.mark.parametrize("content", [b"not a checkpoint\n", b"\x00" * 100, b"PK\x03\x04rest"])
def test_another_kind_of_file_is_refused(tmp_path, content, refused):
    path = tmp_path / "some.ckpt"
    path.write_bytes(content)
    with refused(str(path)):
        innflow.load(path)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {}, "epoch": 3},
        {"state_dict": {}, "innflow": 3},
        {"state_dict": {}, "innflow": {}},
        {"state_dict": {}, "innflow": {"format": FORMAT}},
        {"innflow": {"format": FORMAT}},
        [1, 2],
        torch.zeros(3),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused(tmp_path, content, refused):
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with refused(str(path)):
        innflow.load(path)


def test_a_checkpoint_of_another_format_is_refused(spoilt, refused):
    path = spoilt(lambda c: c["innflow"].update(format=99))
    with refused(str(path), "format 99"):
        innflow.load(path)


@pytest.mark.parametrize("node", MODEL)
def test_a_config_without_one_of_its_nodes_is_refused(spoilt, node, refused):
    path = spoilt(lambda c: c["innflow"]["config"].pop(node))
    with refused(str(path), node):
        innflow.load(path)


def test_weights_that_do_not_fit_are_refused(spoilt, refused):
    path = spoilt(lambda c: c["innflow"]["config"]["model"].update(depth=3))
    with refused(str(path), "do not fit"):
        innflow.load(path)


@pytest.mark.parametrize(
    "save", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o, protocol=2))]
)
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, save, refused):
    path, mark = tmp_path / "bomb.ckpt", tmp_path / "exploded"
    save({"state_dict": {}, "innflow": {"format": FORMAT, "config": Bomb(mark)}}, path)
    with refused(str(path), "refused"):
        innflow.load(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "place",
    [
        "app",
        "model",
        "model.subnet",
        "model.coupling",
        "latent.z",
        "objective.terms.nll",
        "optimizer",
        "schedule",
        "score.scores.likelihood",
    ],
)
@pytest.mark.parametrize(
    "bomb",
    [
        {"_target_": "os.system", "command": "touch {mark}"},
        {"_target_": "subprocess.run", "args": ["touch", "{mark}"]},
        {"_target_": "innflow.app.module.torch.load", "f": "{mark}"},
        {"_target_": "builtins.eval", "_args_": ["open('{mark}', 'w')"]},
        {"_target_": "innflow.command.main.train"},
        {"_target_": "innflow.system.file.atomic.write_text", "path": "{mark}", "text": ""},
        "${{oc.create:{{_target_: shutil.copyfile, src: /dev/null, dst: '{mark}'}}}}",
    ],
    ids=["system", "run", "load", "eval", "train", "write", "interpolation"],
)
def test_a_config_that_names_code_is_refused_and_not_run(spoilt, tmp_path, place, bomb, refused):
    mark = tmp_path / "exploded"

    def fill(value):
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        return [fill(v) for v in value] if isinstance(value, list) else value.format(mark=mark)

    def plant(checkpoint):
        *parents, last = place.split(".")
        node = checkpoint["innflow"]["config"]
        for name in parents:
            if node[name] is None:
                node[name] = {}
            node = node[name]
        node[last] = fill(bomb)

    path = spoilt(plant)
    with refused(str(path)):
        innflow.load(path)
    assert not mark.exists()


def mine(checkpoint):
    checkpoint["innflow"]["config"]["model"]["subnet"] = {
        "_target_": f"{Mine.__module__}.Mine",
        "_partial_": True,
    }


def test_other_peoples_classes_are_built_only_on_trust(spoilt, config, refused):
    Mine.made.clear()
    config = copy.deepcopy(config)
    mine({"innflow": {"config": config}})
    state = assemble(config, {"x": (2,)}).state_dict()
    Mine.made.clear()

    def change(checkpoint):
        mine(checkpoint)
        checkpoint["state_dict"] = state

    path = spoilt(change)
    with refused(str(path), "Mine", "trust=True"):
        innflow.load(path)
    assert not Mine.made
    app = innflow.load(path, trust=True)
    assert len(Mine.made) == 2
    assert torch.equal(
        app.state_dict()["flow.levels.0._transforms.0.shift"],
        next(value for name, value in state.items() if name.endswith("0.shift")),
    )


def test_assembling_a_config_that_does_not_fit_is_one_line(config, refused):
    for change, fragments in (
        (lambda c: c["model"].update(coupling="cubic"), ("coupling='cubic'", "affine or spline")),
        (lambda c: c["model"].update(depth=0), ("depth=0",)),
        (lambda c: c["partition"].update(left={"y": "data"}), ("partition.left.y=data",)),
        (lambda c: c.update(latent={"y": c["latent"]["z"]}), ("right part z has no density",)),
        (
            lambda c: c.update(
                model={"_target_": "innflow.flow.glow", "_partial_": True, "levels": 1}
            ),
            ("image flow", "(channels, height, width)"),
        ),
        (lambda c: c["optimizer"].update(lr=-1.0), ("optimizer", "-1.0")),
    ):
        spoilt = copy.deepcopy(config)
        change(spoilt)
        with refused(*fragments):
            assemble(spoilt, {"x": (2,)})


def test_a_run_folder_brings_its_fitted_scores(trained, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    source = trained / "checkpoints" / "best.ckpt"
    (folder / "checkpoints" / "best.ckpt").write_bytes(source.read_bytes())
    app = innflow.load(folder)
    with pytest.raises(InnflowError, match="no fitted scores"):
        app.score(torch.zeros(1, 2))
    from innflow.score import Likelihood, Scorer

    x = torch.randn(40, 2)
    measured = app.measure(x).numpy()
    scorer = Scorer({"likelihood": Likelihood()}, "likelihood")
    scorer.fit(measured, measured)
    scorer.save(folder / "scores.npz")
    scores = innflow.load(folder).score(x)
    np.testing.assert_allclose(scores["score"], -measured.log_prob, rtol=1e-6)
    assert ((scores["p_value"] > 0) & (scores["p_value"] <= 1)).all()
