"""The study of the claims: every run composes, and the page is made from its results."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.claims import __main__ as command
from experiments.claims import clothes, execute, folders, measure, page
from experiments.claims.claims import BY_NUMBER, CLAIMS
from experiments.claims.criteria import FAILS, HOLDS, PART
from experiments.claims.execute import Plan
from experiments.claims.runs import CLASSES, LEFT_OUT, RUNS, Run, needed
from innflow.config.build import compose_config, to_plain
from innflow.config.resolvers import register_resolvers
from innflow.config.schema import check
from innflow.errors import InnflowError

REPORTED = Path(command.__file__).parent


def plan(tmp_path, claims=CLAIMS, limit=None) -> Plan:
    """A plan whose folders have a quote and a space in their names."""
    root = tmp_path / "it's here"
    return Plan(claims, [0, 1], root / "data", root / "out", root / "results.json", limit)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_overrides_of_a_run_compose(run, tmp_path):
    register_resolvers()
    of = plan(tmp_path, limit=90 if run is RUNS[-1] else None)
    config = to_plain(compose_config("train", of.arguments(run, 1)))
    check(config)
    assert config["seed"] == config["data"]["seed"] == 1
    assert config["trainer"]["max_steps"] == run.steps
    assert config["trainer"]["max_time"] == (None if of.limit is None else "00:01:30:00")
    assert not re.search(r"\{\w+", json.dumps(config["data"]))
    paths = [config["data"].get("root"), *(config["data"].get("outliers") or {}).values()]
    assert all(str(path).startswith(str(tmp_path / "it's here")) for path in paths if path)
    general = config["companions"]["general"]
    assert (general is not None) == ("general" in run.needs)
    assert general in (None, str(of.folder("general", 1)))


def test_every_run_serves_a_claim_and_follows_what_it_needs():
    assert {run.name for claim in CLAIMS for run in claim.all_runs} == {run.name for run in RUNS}
    assert [claim.number for claim in CLAIMS] == list(range(1, 13))
    names = [run.name for run in needed(["cats", "clothes_dense"])]
    assert names == ["general", "cats", "clothes_dense"]


def small_results() -> dict:
    """Results of two seeds in which every claim holds but 4, 10 and 12."""
    scores = {
        "cats / dog": (0.7, 0.99, 0.8, 0.6, 0.65, 1.1),
        "cats / mnist": (0.1, 1.0, 0.6, 0.9, 0.95, 0.3),
    }
    sides = (*measure.AUROC, measure.RELATIVE_PNG)
    detection = {panel: dict(zip(sides, row, strict=True)) for panel, row in scores.items()}
    curve = [[50.0, 100.0, 150.0], [4.5, 4.3, 4.2]]
    pixels = dict(zip(BY_NUMBER[9].sides, (0.7, 0.98, 0.981, 0.9), strict=True))
    cloud, profile = [[0.1, -0.2], [0.3, 0.1]], [[0.4, 0.3], [0.5, 0.4], [0.6, 0.5]]
    shares = {"cats": [0.2, 0.8], "mnist": [0.9, 0.1]}
    numbers: dict[int, dict] = {
        **dict.fromkeys((1, 2, 3, 6), detection),
        4: {"airplane / its other classes": {"without loss": 0.7, "with loss": 0.69}},
        5: {"share of the steps": {"fine-tuned": 0.3}, "best val/bpd": {"from scratch": 4.2}},
        7: {"clothes / digits": {"glow": 0.2, "dense": 0.8}},
        8: {"clothes / digits": dict(zip(BY_NUMBER[8].sides, (0.2, 0.3, 0.9), strict=True))},
        9: {"cats / dog": pixels, "cats / ball": pixels},
        10: {"cats": {"amplitude": 0.7, "phase": 0.1}},
        11: {
            "MMD² / prior's": {"MMD": 0.05, "likelihood": 0.01},
            "SBC, p": {"MMD": 0.5},
            "TARP, p": {"MMD": 0.2},
            "C2ST": {"MMD": 0.97, "likelihood": 0.55, "floor": 0.5},
        },
        12: {"C2ST": {"noise as input": 0.51, "noise ignored": 0.55, "floor": 0.5}},
    }
    series: dict[int, dict] = {
        1: {"cats": {"inliers": "cats", "edges": [3.0, 4.0, 5.0], "shares": shares}},
        5: {"from scratch": curve, "fine-tuned": curve},
        11: {"exact": cloud, "MMD": cloud, "likelihood": cloud},
        12: {"truth": [0.5, 0.4], "exact": profile, "noise as input": profile},
    }
    of = {
        str(number): {
            str(seed): {"numbers": n, "minutes": {"a": 1.5}, "series": series.get(number, {})}
            for seed in (0, 1)
        }
        for number, n in numbers.items()
    }
    machine = {"system": "Linux", "threads": 1, "versions": {"torch": "2"}}
    return {"machine": machine, "claims": of}


@pytest.mark.extended
def test_the_page_has_a_row_a_section_and_a_small_figure_for_each_claim(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"# claims\n\n{page.BEGIN}\nPREVIOUS\n{page.END}\n\nLimits.\n")
    (tmp_path / "results.json").write_text(json.dumps(small_results()))
    command.main(["page", f"results={tmp_path / 'results.json'}", f"to={tmp_path}"])
    text = readme.read_text()
    assert text.startswith("# claims\n")
    assert text.endswith("Limits.\n")
    assert "PREVIOUS" not in text
    rows = [row.split(" | ") for row in text.splitlines() if re.match(r"\| \d+ \|", row)]
    assert [row[0].strip("| ") for row in rows] == [str(number) for number in range(1, 13)]
    verdicts = {int(row[0].strip("| ")): row[3].strip("*") for row in rows}
    exceptions = {4: FAILS, 10: PART, 12: PART}
    assert verdicts == {number: exceptions.get(number, HOLDS) for number in range(1, 13)}
    figures = sorted((tmp_path / "figures").glob("*.png"))
    assert [figure.name in text for figure in figures] == [True] * 12
    assert max(figure.stat().st_size for figure in figures) < 150_000


def test_a_claim_that_was_not_measured_says_so():
    table = page.table({"machine": {}, "claims": {}})
    assert table.count(page.MISSING) == 2 * len(CLAIMS)


def test_the_reported_page_belongs_to_the_reported_results():
    text = (REPORTED / "README.md").read_text()
    assert page.fill_in(text, execute.read_results(REPORTED / "results.json")) == text


@pytest.mark.parametrize(
    ("number", "change", "verdict"),
    [
        (1, {"cats / mnist": {"likelihood": 0.6, "PNG": 0.3}}, FAILS),
        (2, {"cats / mnist": {"likelihood": 0.1, "ratio": 0.7, "PNG": 0.3}}, PART),
        (3, {"cats / mnist": {"likelihood": 0.1, "last_scale": 0.4, "PNG": 0.3}}, PART),
        (5, {"share of the steps": {"fine-tuned": None}}, FAILS),
        (7, {"clothes / digits": {"glow": 0.6, "dense": 0.8}}, PART),
        (11, {"C2ST": {"MMD": 0.7}}, FAILS),
        (12, {"C2ST": {"noise as input": 0.51, "noise ignored": 0.99, "floor": 0.5}}, HOLDS),
    ],
)
def test_criteria(number, change, verdict):
    numbers = small_results()["claims"][str(number)]["0"]["numbers"]
    assert BY_NUMBER[number].judge([{**numbers, **change}] * 3) == verdict


def test_numbers_are_read_from_a_run_folder(tmp_path):
    (tmp_path / "metrics.json").write_text(
        json.dumps({"ood/likelihood/dog/auroc": 0.75, "ood/likelihood/mean/auroc": 0.8})
    )
    rows = ["path,log_prob,png,bits_per_dim,set"]
    for name, length in (("train", 9.0), ("test", 8.0), ("dog", 4.0)):
        # the score png is -log2 p less the length of the file
        rows += [f"a.png,{-2 * math.log(2)},{2 - length},{i},{name}" for i in range(4)]
    (tmp_path / "scores.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "metrics.csv").write_text("step,val/bpd,lr\n49,4.5,\n49,,0.1\n99,4.25,\n")
    assert measure.png_lengths(tmp_path) == pytest.approx({"train": 9, "test": 8, "dog": 4})
    found = measure.detection(tmp_path, "cats")
    assert found == {"cats / dog": {"likelihood": 0.75, "PNG": pytest.approx(0.5)}}
    assert measure.detection(tmp_path, "cats", mean=True)[f"cats / {measure.OTHERS}"] == {
        "likelihood": 0.8,
        "PNG": pytest.approx(0.5),
    }
    steps, bits = measure.read_column(tmp_path, "val/bpd")
    assert (steps.tolist(), bits.tolist()) == ([50, 100], [4.5, 4.25])
    shares = measure.histograms(tmp_path, "cats")["shares"]
    assert set(shares) == {"cats", "dog"}
    assert sum(shares["dog"]) == pytest.approx(1)


def write_run(folder: Path, arguments: list[str], **numbers: float) -> None:
    """Write what the study reads of a finished run."""
    folder.mkdir(parents=True)
    time = {"time/train_seconds": 60.0, "time/study_seconds": 30.0}
    (folder / "metrics.json").write_text(json.dumps({**time, **numbers}))
    (folder / "overrides.yaml").write_text(json.dumps([*arguments, f"run_dir='{folder}'"]))
    versions = dict.fromkeys(execute.KEPT, "1")
    origin = {"system": "Linux", "threads": 1, "versions": versions}
    (folder / "environment.json").write_text(json.dumps(origin))


def test_finished_runs_are_skipped_and_failed_ones_named(tmp_path, monkeypatch):
    of = plan(tmp_path, [BY_NUMBER[4]])
    monkeypatch.setattr(execute, "check_data", lambda data: None)
    monkeypatch.setattr(execute, "make_folders", lambda data, made: None)
    started = []

    def train(plan: Plan, run: Run, seed: int) -> bool:
        started.append((run.name, seed))
        if (run.name, seed) == ("general", 1):
            return False
        aurocs = {"ood/ratio/mean/auroc": 0.7}
        write_run(plan.folder(run.name, seed), plan.arguments(run, seed), **aurocs)
        return True

    monkeypatch.setattr(execute, "train", train)
    write_run(of.folder("general", 0), of.arguments(RUNS[0], 0))
    failed = execute.execute(of)
    names = [f"{name}{loss}" for name in CLASSES for loss in ("", "_outlier_loss")]
    assert started == [*((name, 0) for name in names), ("general", 1)]
    assert failed == [f"{name}/seed1" for name in ("general", *names)]
    results = execute.read_results(of.results)
    assert list(results["claims"]["4"]) == ["0"]
    assert results["claims"]["4"]["0"]["minutes"] == dict.fromkeys(("general", *names), 1.5)
    assert str(tmp_path) not in of.results.read_text()
    with pytest.raises(InnflowError, match="other settings"):
        execute.is_finished(plan(tmp_path, limit=1), RUNS[0], 0)


def test_a_run_is_started_then_resumed(tmp_path, monkeypatch):
    of, run = plan(tmp_path), RUNS[-1]
    calls = []

    class Process:
        def __init__(self, words, **_):
            calls.append(words[3:])

        def wait(self):
            return len(calls) - 1

    monkeypatch.setattr(execute.subprocess, "Popen", Process)
    folder = of.folder(run.name, 0)
    assert execute.train(of, run, 0)
    assert calls[0][:-1] == of.arguments(run, 0)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/last.ckpt").touch()
    folder.with_suffix(".log").write_text("error: why")
    assert not execute.train(of, run, 0)
    assert calls[1] == [calls[0][-1], "ckpt=last"]


def test_folders_are_made_once_without_the_kinds_left_out(tmp_path, monkeypatch):
    data = tmp_path / "data"
    for name in (*LEFT_OUT, "n09193705"):
        (data / "tinyimagenet/train" / name).mkdir(parents=True)
    for name in ("cats_ood/train", "mnist/train", "cifar10/train", "cifar10/test/cat"):
        (data / name).mkdir(parents=True)
    (data / "cifar10/test/dog").mkdir()
    monkeypatch.setattr(clothes.write, "__defaults__", (16, 8))
    folders.check_data(data)
    for _ in range(2):
        folders.make_folders(data, tmp_path / "made")
    names = {path.name: [p.name for p in path.iterdir()] for path in (tmp_path / "made").iterdir()}
    assert names["not_cats"] == ["dog"]
    assert [p.name for p in (tmp_path / "made/general/train").iterdir()] == ["n09193705"]
    drawn = sorted((tmp_path / "made/clothes/train/clothes").iterdir())
    assert len(drawn) == 16
    pixels = np.stack([np.asarray(Image.open(path)) for path in drawn])
    assert pixels.shape == (16, 28, 28)
    assert (pixels[:, 0, 0] == 0).all()
    assert pixels.max() > 100
    (data / "mnist/train").rmdir()
    with pytest.raises(InnflowError, match="no mnist/train"):
        folders.check_data(data)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "takes plan, run, page"),
        (["run", "sede=1"], "sede is unknown"),
        (["run", "only=13"], "only=13"),
        (["plan", "seeds=a"], "seeds=a"),
        (["run", "only=1"], "data=DIR is needed"),
    ],
)
def test_mistakes_on_the_command_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InnflowError, match=message):
        command.main(words)


def test_the_plan_lists_shared_runs_once(capsys):
    command.main(["plan", "only=2,4", "seeds=0"])
    text = capsys.readouterr().out
    assert len(re.findall(r"^general ", text, re.MULTILINE)) == 1
    assert "seeds: 1" in text
