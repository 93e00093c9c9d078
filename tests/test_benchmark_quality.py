"""The comparison of quality: the Glows, the batches, the choice of weights, and the times."""

from __future__ import annotations

import itertools
import json
import math
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

from benchmarks import glows, peers, quality, quality_page, quality_settings
from benchmarks.glows import Sizes
from benchmarks.work import FREIA_ALL, NFLOWS, NORMFLOWS, OURS

NAMES = [name for name in glows.BUILD if name == OURS or find_spec(peers.PACKAGES[name])]
TINY = Sizes((3, 8, 8), (2, 1), (8, 8))


@pytest.mark.parametrize("name", NAMES)
def test_log_density_of_every_glow_has_the_log_det_of_its_jacobian(name):
    torch.manual_seed(0)
    glow = glows.build(name, TINY)
    x = torch.rand(6, 3, 8, 8) - 0.5
    glow.initialise(x)
    with torch.no_grad():
        for weight in glow.parameters():
            weight += 0.02 * torch.randn_like(weight) * weight.requires_grad
        if name == NORMFLOWS:
            for base in glow.flow.q0:
                base.loc.zero_()
                base.log_scale.zero_()
    glow.eval()

    def latent(x):
        z = glow.flow.inverse_and_log_det(x) if name == NORMFLOWS else glow.latents(glow.flow, x)
        return torch.cat([part.flatten(1) for part in z[0]], dim=1)

    item = x[:1]
    jacobian = torch.autograd.functional.jacobian(latent, item).reshape(192, 192)
    normal = -0.5 * (latent(item).square() + math.log(2 * math.pi)).sum()
    expected = normal + torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(glow(item)[0], expected, atol=0.02, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_glows_have_the_same_networks_with_channels_last(name):
    torch.manual_seed(0)
    glow, ours = glows.build(name, TINY), glows.build(OURS, TINY)

    def convolutions(glow):
        return [module for module in glow.modules() if isinstance(module, torch.nn.Conv2d)]

    shapes, expected = (
        sorted(module.weight.shape for module in convolutions(each)) for each in (glow, ours)
    )
    assert shapes == expected
    read, returned = set(), set()

    def look(_, inputs, output):
        read.add(inputs[0].stride()[1])
        returned.add(output.stride()[1])

    for module in convolutions(glow):
        module.register_forward_hook(look)
    glow(torch.rand(2, 3, 8, 8))
    assert returned == {1}
    assert read == {1} or name == NFLOWS  # whose couplings index channels and so copy them


def test_bf16_is_used_in_training_only():
    torch.manual_seed(0)
    glow = glows.build(OURS, Sizes((3, 8, 8), (2, 1), (8, 8), bf16=True))
    with torch.no_grad():
        for weight in glow.parameters():
            weight += 0.05 * torch.randn_like(weight)
    exact = glows.build(OURS, TINY)
    exact.load_state_dict(
        {k.replace(".net.net.", ".net."): v for k, v in glow.state_dict().items()}
    )
    x = torch.rand(2, 3, 8, 8) - 0.5
    assert not torch.equal(glow.train()(x), exact(x))
    torch.testing.assert_close(glow.eval()(x), exact(x))


def test_batches_are_the_same_for_a_seed_and_whole():
    images = torch.randint(256, (10, 3, 4, 4), dtype=torch.uint8)
    settings = quality_settings.Settings(batch=4, flip=False)
    one, same, other = (quality.Batches(images, settings, seed) for seed in (0, 0, 1))
    batches = [next(one) for _ in range(2)]
    assert torch.equal(batches[0], next(same))
    assert not torch.equal(batches[0], next(other))
    assert batches[0].min() >= -0.5
    assert batches[0].max() < 0.5
    pixels = torch.cat([((x + 0.5) * 256).floor() for x in batches])
    rows = [
        next(i for i, image in enumerate(images) if torch.equal(p, image.float())) for p in pixels
    ]
    assert len(set(rows)) == 8  # of an epoch, no image twice


def test_bits_per_dim_are_those_of_the_8_bit_image():
    images = torch.randint(256, (5, 3, 4, 4), dtype=torch.uint8)

    def uniform(x):
        return torch.zeros(len(x))  # density 1 on the cube

    assert quality.bits_per_dim(uniform, images, 8) == pytest.approx(8.0)
    assert quality.bits_per_dim(uniform, images, 0) == pytest.approx(8.0)

    def normal(x):
        return -0.5 * (x.square() + math.log(2 * math.pi)).flatten(1).sum(dim=1)

    x = (images + 0.5) / 256 - 0.5
    exact = 8 - float(normal(x).mean()) / (48 * math.log(2))
    assert quality.bits_per_dim(normal, images, 0) == pytest.approx(exact)
    assert quality.bits_per_dim(normal, images, 8) == pytest.approx(exact, abs=1e-3)


def test_best_weights_are_those_of_the_best_validation_bound(monkeypatch):
    bounds = iter([5.0, 3.0, 4.0, 6.0, 7.0, 8.0] + [9.0] * 1000)
    kept = []
    torch.manual_seed(0)
    glow = glows.build(OURS, TINY)

    def evaluate(glow, *_):
        kept.append({key: value.clone() for key, value in glow.state_dict().items()})
        return next(bounds)

    monkeypatch.setattr(quality, "bits_per_dim", evaluate)
    images = torch.randint(256, (8, 3, 8, 8), dtype=torch.uint8)
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 0.1 * next(ticks), process_time=lambda: 0.0)
    monkeypatch.setattr(quality, "time", clock)
    options = quality.DEFAULTS | {"every": "1", "minutes": "0.02"}
    settings = quality_settings.Settings(batch=4)
    found = quality.train(glow, {"train": images, "val": images}, settings, 0, options)
    assert found["steps"] == found["log"][-1][1] > 2
    assert min(bound for *_, bound in found["log"]) == 3.0
    for key, value in glow.state_dict().items():
        assert torch.equal(value, kept[1][key]), key


def test_time_to_a_target_is_interpolated():
    run = {"log": [[10.0, 1, 5.0], [20.0, 2, 4.5], [30.0, 3, 4.0]]}
    assert quality_page.seconds_to(run, 4.25) == pytest.approx(25.0)
    assert quality_page.seconds_to(run, 5.0) == 10.0
    assert quality_page.seconds_to(run, 3.9) is None
    assert quality_page.minutes_to([run, {"log": [[10.0, 1, 5.0]]}], 4.25) == []


def test_finished_runs_are_skipped_and_the_page_holds_all(tmp_path, capsys, monkeypatch):
    images = torch.randint(256, (24, 3, 8, 8), dtype=torch.uint8)
    sets = {"train": images[:16], "val": images[16:20], "test": images[20:]}
    monkeypatch.setattr(quality, "load", lambda options: sets)
    words = ["quick=true", "size=8", "minutes=0.003", "every=2", "seeds=0", f"out={tmp_path}/q"]
    words.append(f"only={','.join(NAMES)}")
    quality.main([*words, "settings=equal"])
    assert "done" not in capsys.readouterr().out
    quality.main([*words, "settings=equal,own", "target=9"])
    assert capsys.readouterr().out.count("done") == len(NAMES)
    runs = json.loads((tmp_path / "q.json").read_text())["runs"]
    assert [run["contender"] for run in runs] == NAMES * 2
    assert all(run["skipped"] == 0 and 2 < run["test_bpd"] < 12 for run in runs)
    assert all(run["log"][-1][1] == run["steps"] for run in runs)
    text = (tmp_path / "q.md").read_text()
    assert "## Equal settings: drawn cats, 8 x 8, 0.003 min" in text
    assert "own settings" in text
    assert text.count("| innflow | 0 |") == 2


def test_own_settings_of_innflow_are_those_of_its_experiment():
    found = quality_settings.settings_of("own", OURS)
    assert (found.batch, found.optimizer, found.options["lr"]) == (32, "Adam", 1e-3)
    assert found.depth == (16, 8, 4)
    assert found.clip == 1.0
    alike = [quality_settings.settings_of("equal", name) for name in (OURS, NFLOWS, FREIA_ALL)]
    assert all(one == alike[0] for one in alike)


def test_wrong_words_are_refused(refused):
    with refused("minuets is unknown", "minutes"):
        quality.main(["minuets=3"])
    with refused("only=zuko", "normflows"):
        quality.main(["only=zuko"])
    with refused("clock=cpu", "threads=1"):
        quality.main(["clock=cpu", "threads=2"])
    with refused("settings=best", "equal, own"):
        quality.main(["settings=best"])
