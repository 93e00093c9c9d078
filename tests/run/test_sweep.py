"""innflow-sweep-report on the folder of a sweep."""

from __future__ import annotations

import csv
import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from PIL import Image
from tiny import Answer

from innflow.command import main as cli
from innflow.system.failed_jobs import note_failure

HOSTILE = "<script>alert('x')</script>&\"$y"
NAN = float("nan")


def make_job(root: Path, name: str, overrides: list[str], curve: list[float], **metrics: float):
    """Write the folder of a job; without metrics of one that did not finish."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    keeper = {"checkpoint": {"monitor": "val/nll", "mode": "min"}}
    (folder / "config.yaml").write_text(yaml.safe_dump({"callbacks": keeper}))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["step", "val/nll"], [0, ""], *([i, v] for i, v in enumerate(curve))])
    if metrics:
        named = {name.replace("_", "/", 1): value for name, value in metrics.items()}
        (folder / "metrics.json").write_text(json.dumps(named))
        (folder / "report.html").write_text("")


@pytest.fixture
def sweep(tmp_path) -> Path:
    """Ten jobs that finished, one that failed and one that never ended."""
    root = tmp_path / "sweep"
    for i in range(10):
        curve = [NAN if i == 2 else 20.0, 9.0, 1.0 + (i - 7) ** 2]
        overrides = ["+experiment=moons", f"model.depth={i}", f"optimizer.lr={10.0 ** -(i % 4)}"]
        test = {"test_nll": float(i), "test_accuracy": i / 10}
        make_job(root, str(i), [*overrides, "data.n=600"], curve, **test)
    failed = ["+experiment=moons", "model.depth=0", f"data.root={HOSTILE}", "data.n=600"]
    note_failure(root / "10", 10, failed, "OUT_OF_MEMORY", f"no memory {HOSTILE}")
    make_job(root, "11", ["+experiment=moons", "model.depth=11", "data.n=600"], [0.1])
    return root


@pytest.fixture
def report(monkeypatch, capsys, sweep):
    """Return `report(*arguments)`, innflow-sweep-report on the sweep."""

    def call(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["innflow-sweep-report", str(sweep), *arguments])
        code = 0
        try:
            cli.sweep_report()
        except SystemExit as exit:
            code = int(exit.code or 0)
        return Answer(code, *capsys.readouterr())

    return call


def rows_of(root: Path) -> list[dict[str, str]]:
    with (root / "sweep.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_monitored_metric_chooses_the_best_run(report, sweep):
    answer = report()
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == str(sweep / "7")
    assert "best by the lowest val/nll: 1 (model.depth=7 optimizer.lr=0.001)" in answer.out
    assert "job 10: OUT_OF_MEMORY" in answer.out
    assert "job 11: unfinished (model.depth=11)" in answer.out


def test_the_table_holds_the_varied_keys_and_every_metric(report, sweep):
    report()
    rows = rows_of(sweep)
    varied = ["model.depth", "optimizer.lr", "data.root"]
    metrics = ["test/accuracy", "test/nll", "val/nll"]
    assert list(rows[0]) == ["job", "state", *varied, *metrics, "reason"]
    values = [float(row["val/nll"]) for row in rows if row["val/nll"]]
    assert values == sorted(values)
    assert len(values) == 10
    assert [row["job"] for row in rows[-2:]] == ["10", "11"]
    assert [row["state"] for row in rows[-2:]] == ["OUT_OF_MEMORY", "unfinished"]
    by_job = {row["job"]: row for row in rows}
    assert by_job["3"]["test/nll"] == "3.0"
    assert by_job["10"]["reason"] == f"no memory {HOSTILE}"
    assert by_job["2"]["val/nll"] == "9.0"  # not the 26 of its last validation, nor NaN


@pytest.mark.parametrize(
    ("arguments", "best", "said"),
    [
        (["metric=test/nll"], "0", "lowest test/nll"),
        (["metric=test/accuracy"], "9", "highest test/accuracy"),
        (["metric=test/nll", "mode=max"], "9", "highest test/nll"),
        (["mode=max"], "0", "highest val/nll"),
    ],
)
def test_another_metric_may_choose(arguments, best, said, report, sweep):
    answer = report(*arguments)
    assert answer.code == 0, answer.err
    assert f"best by the {said}" in answer.out
    assert answer.out.splitlines()[-1] == str(sweep / best)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["metric=test/nl"], "did you mean test/nll?"),
        (["metric=7"], "metric=7: must be the name"),
        (["mode=best"], "mode=best: must be min or max"),
        (["model.depth=3"], "model.depth=3: is unknown here"),
    ],
)
def test_a_mistake_is_reported_in_one_line(arguments, says, report):
    answer = report(*arguments)
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert says in answer.err


def test_a_folder_without_jobs_is_refused(monkeypatch, capsys, tmp_path):
    for argument, says in ((str(tmp_path), "holds no jobs"), ("nowhere", "no such folder")):
        monkeypatch.setattr(sys, "argv", ["innflow-sweep-report", argument])
        with pytest.raises(SystemExit):
            cli.sweep_report()
        assert says in capsys.readouterr().err


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name == "href"]

    def handle_data(self, data):
        self.text += data


def test_the_page_loads_no_other_file_and_runs_no_script(report, sweep):
    report()
    page = Page(sweep / "sweep.html")
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) == 2  # an override and a reason, as they were
    assert page.tags.count("tr") == 13
    assert page.tags.count("img") == 1
    assert sorted(page.links) == sorted(f"{i}/report.html" for i in range(10))
    assert "10 of 12 jobs finished" in page.text
    assert "OUT_OF_MEMORY" in page.text


def test_the_picture_has_an_axis_for_each_key(report, sweep):
    report()
    with Image.open(sweep / "sweep.png") as picture:
        assert min(picture.size) > 300


def test_a_sweep_in_which_nothing_finished(report, sweep):
    for path in sweep.glob("*/metrics.json"):
        path.unlink()
    answer = report()
    assert answer.code == 2
    assert "no job has val/nll" in answer.err
    assert "0 of 12 jobs finished" in Page(sweep / "sweep.html").text
