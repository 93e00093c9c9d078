"""The benchmarks: all contenders do the same work, and tables and ratios are computed correctly."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from unittest.mock import Mock

import pytest
import torch
from torch import nn

import benchmarks.__main__ as command
from benchmarks import measure, memory, ours, peers, precision, startup, timing
from benchmarks.table import Table, read, write
from benchmarks.timing import Spread
from benchmarks.work import BARE, COMPILED, GLOW, NFLOWS, OURS, REVERSIBLE, WORKS, Work, split
from innflow.config.build import build, compose_config, to_plain
from innflow.config.resolvers import register_resolvers

INSTALLED = [name for name, package in peers.PACKAGES.items() if find_spec(package)]
SMALL = {
    "affine": Work("affine", "affine", (4,), 5, 8, WORKS[0].contenders, depth=2),
    "spline": Work("spline", "spline", (4,), 5, 8, WORKS[3].contenders, depth=2),
    "glow": replace(GLOW, shape=(4, 2, 2), batch=5, hidden=8, depth=2),
}
SMALL_GLOW = replace(GLOW, shape=(4, 4, 4), hidden=8, depth=2)
FLOWS = [
    (kind, name)
    for kind, work in SMALL.items()
    for name in work.contenders
    if split(name)[0] in (OURS, *INSTALLED) and COMPILED not in name
]


def test_nflows_is_among_the_peers_that_are_tested():
    assert NFLOWS in INSTALLED


@pytest.mark.parametrize(("kind", "name"), FLOWS)
def test_contender_is_a_bijection_with_its_log_det(kind, name):
    work = SMALL[kind]
    flow = measure.build(name, work, ours.networks(work))
    x = measure.batch(work)
    z, logabsdet = flow(x)
    assert logabsdet.shape == (len(x),)
    assert z.flatten(1).shape == (len(x), work.dims)
    flow.eval()
    tolerance = 0.05 if "bf16" in name else 1e-4
    back, _ = flow.inverse(flow(x)[0])
    torch.testing.assert_close(back, x, atol=tolerance, rtol=tolerance)
    assert z.dtype == logabsdet.dtype == torch.float32
    if "bf16" in name:
        return
    item = x[:1]
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x)[0].flatten(1), item)
    expected = torch.linalg.slogdet(jacobian.reshape(work.dims, work.dims)).logabsdet
    torch.testing.assert_close(flow(item)[1][0], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("library", [OURS, *INSTALLED])
def test_bf16_and_memory_format_reach_the_networks_of_every_library(library):
    kind = "spline" if library == "zuko" else "affine" if library == "FrEIA" else "glow"
    work = SMALL[kind]
    found = {}
    for option in ("", " bf16", " contiguous"):
        flow = measure.build(f"{library}{option}", work, ours.networks(work))
        seen = found[option] = set()

        def look(_, __, output, seen=seen):
            seen.add((output.dtype, output.stride()[1] == 1))

        for module in flow.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.register_forward_hook(look)
        flow(measure.batch(work))
    last = (True,) * 3 if kind != "glow" else (True, True, False)
    types = (torch.float32, torch.bfloat16, torch.float32)
    assert list(found.values()) == [{pair} for pair in zip(types, last, strict=True)]


@pytest.mark.parametrize("kind", SMALL)
def test_step_gives_every_weight_of_every_contender_a_gradient(kind):
    work = SMALL[kind]
    nets, x = ours.networks(work), measure.batch(work)
    for name in work.contenders:
        library, options = split(name)
        if COMPILED in options or library not in (BARE, OURS, *INSTALLED):
            continue
        if library == BARE:
            flow = measure.bare_of(name, work, nets)
            measure.bare_step(flow)()
        else:
            flow = measure.build(name, work, nets)
            measure.step_of(flow, x)()
            assert measure.nll(flow, x).isfinite(), name
        networks = sum(weight.numel() for net in nets for weight in net.parameters())
        assert measure.count(flow) >= networks, name
        for key, weight in flow.named_parameters():
            if weight.requires_grad:
                assert weight.grad is not None, (name, key)
                assert weight.grad.isfinite().all(), (name, key)


def test_all_contenders_use_copies_of_the_same_networks():
    work = SMALL["spline"]
    first, second = ours.networks(work)
    subnet = ours.hand_out([first, second])
    given = subnet(*work.head)
    assert given is not first
    for one, other in zip(given.parameters(), first.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="from 3 to"):
        subnet(3, work.head[1])


def test_compiled_flow_is_compiled_in_both_directions(monkeypatch):
    taken = []
    monkeypatch.setattr(torch, "compile", lambda call, *_, **__: taken.append(call) or call)
    work = SMALL["affine"]
    x = measure.batch(work)
    for library in (OURS, NFLOWS):
        taken.clear()
        flow = measure.build(f"{library} compiled", work, ours.networks(work))
        assert len(taken) == 2
        torch.testing.assert_close(flow.inverse(flow(x)[0])[0], x, atol=1e-4, rtol=1e-4)


@pytest.mark.extended
def test_flow_that_does_not_compile_is_a_row_with_the_reason(monkeypatch):
    def sleepless(call):
        def never_returns(*_):
            while True:
                pass

        return never_returns

    def wrong(call):
        return lambda x: (call(x)[0], call(x)[1] + 1)

    def fails(call):
        raise ValueError("an operation without a kernel\nand many lines")

    work = replace(SMALL["affine"], contenders=(BARE, NFLOWS, f"{NFLOWS} compiled"))
    monkeypatch.setattr(measure.shutil, "which", lambda name: "/usr/bin/g++")
    for compile_, reason in (
        (sleepless, "takes more than 0 s"),
        (wrong, "log-determinants differ by 1"),
        (fails, "an operation without a kernel"),
    ):
        monkeypatch.setattr(torch, "compile", compile_)
        row = measure.training(work, rounds=1, least=0.0, limit=0.2).rows[-1]
        assert row == [f"{NFLOWS} compiled", f"does not compile: {reason}", None, None, None]


def test_rounds_rotate_and_short_calls_are_repeated():
    now, log = [0.0], []

    def call(name, seconds):
        log.append(name)
        now[0] += seconds

    costs = {"a": 1.0, "b": 0.25, "c": 2.0}
    calls = {name: lambda n=name, s=cost: call(n, s) for name, cost in costs.items()}
    times = timing.interleave(calls, rounds=4, least=1.0, clock=lambda: now[0])
    assert times == {name: [cost] * 4 for name, cost in costs.items()}
    measured = log[3 * timing.WARM_UP :]
    order = [name for i, name in enumerate(measured) if i == 0 or measured[i - 1] != name]
    # The last of a round and the first of the next are the same call twice: a b c|b c a|c a b|a b c
    assert "".join(order) == "abcbcacababc"
    assert measured.count("b") == 4 * measured.count("a")


def test_ratios_are_formed_within_a_round():
    times = {"a": [2.0, 30.0, 2.0], "b": [1.0, 10.0, 1.0]}
    assert timing.ratios(times, "a", "b") == [2.0, 3.0, 2.0]
    assert timing.spread([4.0, 1.0, 2.0, 3.0, 5.0]) == Spread(3.0, 2.0, 4.0)


def test_missing_peer_is_one_line_with_the_command_that_installs_it(monkeypatch, refused):
    for package in ("normflows", "zuko"):
        monkeypatch.setitem(sys.modules, package, None)
    with refused("zuko, normflows not installed", "pip install 'innflow[bench]'"):
        peers.need((BARE, OURS, "zuko", "normflows"))
    with refused("pip install 'innflow[bench]'"):
        command.main(["only=precision"])
    peers.need((BARE, OURS, NFLOWS))


def test_unknown_settings_are_refused(refused):
    with refused("roudns is unknown", "rounds"):
        command.main(["roudns=3"])
    with refused("only=aline is unknown", "affine"):
        command.main(["only=aline"])


def test_table_is_written_as_markdown_and_json(tmp_path):
    table = Table("Work", "How to read it.", ["", "ms", "ratio", "grows", "count"])
    table.rows.append(["one", Spread(12.345, 11.0, 14.0), 0.0123, None, 12345])
    table.notes.append("zuko left out: no images")
    text = table.markdown()
    assert "| one | **12.3** (11.0 to 14.0) | 0.012 |  | 12,345 |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {6}
    assert text.endswith("- zuko left out: no images\n")
    settings = {"a": "1", "b": "/x", "c": ""}
    write(tmp_path / "new" / "r", "Title", "About.", {"torch": "2"}, settings, [table])
    assert (tmp_path / "new" / "r.md").read_text().startswith("# Title\n\nAbout.\n")
    assert "Settings: a=1.\nOn torch 2.\n" in (tmp_path / "new" / "r.md").read_text()
    plain = json.loads((tmp_path / "new" / "r.json").read_text())
    assert plain["settings"] == {"a": "1"}
    assert plain["tables"][0]["rows"][0][1] == {"median": 12.345, "low": 11.0, "high": 14.0}
    assert read(tmp_path / "new" / "r", {"torch": "2"}) == [table]
    assert read(tmp_path / "new" / "r", {"torch": "3"}) == []


def test_quick_mode_writes_every_group_after_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(command.startup, "startup", lambda *_: 1 / 0)
    monkeypatch.setattr(command.augmentation, "measure", lambda rounds: {"a": [1.0], "b": [2.0]})
    monkeypatch.setattr(timing, "gc", Mock())  # collections take longer than tiny flows
    words = [f"out={tmp_path}", "threads=1", "quick=true"]
    others = sorted(set(peers.PACKAGES) - {NFLOWS})
    monkeypatch.setattr(peers, "need", lambda names: None)
    words.append(f"without={','.join(others)}")
    with pytest.raises(ZeroDivisionError):
        command.main(words)
    tables = read(tmp_path / "results", command.describe(1, ("innflow", "nflows")))
    named = {table.title.partition(",")[0].partition(":")[0] for table in tables}
    assert {"affine", "spline (8 bins)", "Glow", "Sampling", "Memory", "Augmentation"} <= named
    rows = {row[0]: row for row in next(t for t in tables if t.title.startswith("Glow")).rows}
    assert "nflows bf16" in rows
    assert not any(COMPILED in name for name in rows)
    assert rows[BARE][2] == rows[NFLOWS][3] == Spread(1.0, 1.0, 1.0)
    assert rows[OURS][4] == measure.count(ours.build(SMALL_GLOW, ours.networks(SMALL_GLOW)))
    assert "| **1.00** (1.00 to 1.00) |" in (tmp_path / "results.md").read_text()
    before = len(tables)
    command.main([*words, "only=affine"])
    again = read(tmp_path / "results", command.describe(1, ("innflow", "nflows")))
    assert len(again) == before


def test_compiled_flows_need_a_compiler(monkeypatch):
    monkeypatch.setattr(measure.shutil, "which", lambda name: None)
    work, notes = measure.possible(
        replace(SMALL["affine"], contenders=(BARE, OURS, "innflow compiled"))
    )
    assert work.contenders == (BARE, OURS)
    assert "g++" in notes[0]


def test_sampling_is_measured_relative_to_log_prob_of_the_same_number():
    work = replace(SMALL["glow"], contenders=(OURS, NFLOWS))
    table = measure.sampling(work, rounds=2, least=0.0, images=6)
    assert [row[0] for row in table.rows] == [OURS, NFLOWS]
    assert table.rows[1][4] == Spread(1.0, 1.0, 1.0)


def test_peak_is_exact_and_leaves_out_memory_that_remains():
    kept = []

    def call():
        a = torch.empty(1000)
        b = torch.empty(500)
        del a
        kept.append(torch.empty(100_000))
        c = torch.empty(200)
        assert len(b) + len(c) == 700

    assert memory.peak_bytes(call) == 4 * 1500


@pytest.mark.extended
def test_memory_grows_with_depth_unless_activations_are_recomputed():
    names = (OURS, f"{OURS} {REVERSIBLE}", NFLOWS)
    work = Work("memory", "affine", (8,), 256, 8, names)
    table = memory.memory(work, rounds=1, least=0.0, depths=(2, 8))
    grows = {row[0]: row[3] for row in table.rows}
    assert grows[OURS] > 2.5
    assert grows[NFLOWS] > 2.5
    assert grows[f"{OURS} {REVERSIBLE}"] < 1.5
    assert [len(row) for row in table.rows] == [6, 6, 6]
    assert table.rows[1][5].median > 0


def test_augmentation_is_measured_relative_to_torchvision(monkeypatch):
    rates = {"whole": [20.0, 30.0], "image by image": [10.0, 3.0]}
    monkeypatch.setattr(command.augmentation, "measure", lambda rounds: rates)
    rows = command.augment(2).rows
    assert [row[2].median for row in rows] == [6.0, 1.0]


def test_bits_per_dim_in_both_precisions():
    work = replace(SMALL["glow"], batch=16)
    table = precision.precision(work, count=2, images=16)
    assert len(table.rows) == 3
    assert all(0 < float(row[1]) < 12 for row in table.rows)

    class Identity(nn.Module):
        def forward(self, x):
            return x, torch.zeros(len(x))

    bits = precision.bits_per_dim(Identity(), torch.zeros(20, *work.shape), work)
    assert bits == pytest.approx(8 + 0.5 * math.log2(2 * math.pi), abs=1e-5)


def test_the_first_training_step_ends_the_process(monkeypatch):
    register_resolvers()
    node = to_plain(compose_config("train", list(startup.MOONS[1:])))["callbacks"]["first_step"]
    callback = build(node, "callbacks.first_step")
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    callback.on_train_batch_end(None, None, None, None, 0)
    assert codes == [startup.DONE]


def test_failed_process_is_reported(refused):
    with refused("exit code 2", "nonsense"):
        startup.run(("innflow-train", "nonsense=1"), 0, threads=1)
