"""Presets of the flow on tokens: their sizes, and two training steps of one."""

from __future__ import annotations

import pytest
import torch
from tiny import train

from innflow.config.build import build, compose_config, to_plain
from innflow.config.resolvers import register_resolvers
from innflow.config.schema import check
from innflow.flow import Coupling, Transformer, tokens
from innflow.run.load import load


@pytest.fixture
def compose(tmp_path, monkeypatch):
    """Return the plain config of overrides."""
    monkeypatch.setenv("INNFLOW_STAMP", "now")
    register_resolvers()

    def plain(*overrides: str) -> dict:
        config = to_plain(compose_config("train", [*overrides, f"run_dir={tmp_path / 'run'}"]))
        check(config)
        return config

    return plain


@pytest.mark.parametrize(
    ("model", "depth", "hidden", "blocks", "heads"),
    [("jet", 16, 128, 1, 4), ("jet_base", 32, 512, 2, 8), ("jet_large", 64, 512, 5, 8)],
)
def test_presets_differ_by_their_sizes_alone(model, depth, hidden, blocks, heads, compose):
    config, small = compose(f"model={model}")["model"], compose("model=jet")["model"]
    assert (config["depth"], config["hidden"]) == (depth, hidden)
    assert (config["subnet"]["blocks"], config["subnet"]["heads"]) == (blocks, heads)
    sized = {"depth": depth, "hidden": hidden, "subnet": config["subnet"]}
    assert config == small | sized
    flow = build(config | {"depth": 5, "hidden": 8}, "model")((3, 8, 8))
    nets = [m.net for m in flow.modules() if isinstance(m, Coupling)]
    assert len(nets) == 5
    assert all(isinstance(net, Transformer) and len(net.blocks) == blocks for net in nets)


def test_the_optimizer_of_the_paper(compose):
    config = compose("model=jet", "optimizer=jet", "schedule.warmup=0.1")
    optimizer = build(config["optimizer"], "optimizer")(tokens((1, 8, 8), depth=1).parameters())
    assert isinstance(optimizer, torch.optim.AdamW)
    group = optimizer.param_groups[0]
    assert group["betas"] == (0.9, 0.95)
    assert group["lr"] * group["weight_decay"] == pytest.approx(1e-5, rel=0.02)


def test_two_steps_and_back_from_the_checkpoint(photographs, tmp_path):
    train(
        tmp_path / "run",
        *("data=images", f"data.root={photographs}", f"data.cache_dir={tmp_path / 'cache'}"),
        *("data.size=8", "data.batch_size=8", "model=jet", "model.depth=5", "model.hidden=8"),
        *("optimizer=jet", "analysis=none", "score=none", "+debug=fdr"),
    )
    flow = load(tmp_path / "run", "last").flow
    # The second step moves what the head, 0 at first, lets through.
    assert all((p != 0).any() for name, p in flow.named_parameters() if "head.1" in name)
    x = torch.randn(2, 3, 8, 8)
    assert (flow.inverse(flow(x)[0])[0] - x).abs().max() < 1e-4
