import base64
import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from innflow.analysis.findings import Findings, Plot, Table
from innflow.errors import InnflowError
from innflow.figure.ood.roc_curves import plot_p_values
from innflow.run.report.artifacts import save_findings
from innflow.run.report.run_report import write_report

PNG = "data:image/png;base64,"
HOSTILE = '<script>alert("x")</script> & \'y\', "z"\nnext'


def findings(metric="a/b"):
    plot = Plot(plot_p_values(np.linspace(0.1, 1, 10), 10, "red"), f"caption {HOSTILE}")
    return Findings(
        f"title {HOSTILE}",
        f"text {HOSTILE}\n\nsecond",
        {metric: 0.5},
        {"main": plot},
        [Table(f"table {HOSTILE}", ["set", "n"], [[HOSTILE, "1,000"], ["b", "-2.5"]])],
    )


@pytest.fixture
def run(tmp_path):
    metrics = save_findings({"one": findings()}, tmp_path)
    metrics |= {"test/bpd": 3.987654, "ood/far/mean/auroc": 0.1, "ood/near/mean/auroc": 0.9}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    config = {"data": {"root": HOSTILE}, "score": {"headline": "near"}}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    (tmp_path / "overrides.yaml").write_text("- +experiment=cats_ood\n- data.root=/a b/<script>\n")
    (tmp_path / "environment.json").write_text(json.dumps({"seed": 7, "versions": {"x": HOSTILE}}))
    return tmp_path


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_is_well_formed_and_loads_no_other_file(run):
    text = write_report(run).read_text()
    page = Page(text)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "base")
        assert tag != "script" or not attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("src", PNG).startswith(PNG)
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import|https?://", text)


def test_figures_are_embedded_unchanged(run):
    page = Page(write_report(run).read_text())
    (source,) = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    data = base64.b64decode(source.removeprefix(PNG))
    assert data == (run / "figures" / "one_main.png").read_bytes()
    assert data.startswith(b"\x89PNG")


def test_hostile_text_is_escaped(run):
    text = write_report(run).read_text()
    assert text.count("<script") == 1  # which sorts tables
    # title, text, caption (twice: the alternative text), table, cell, config, environment, command
    assert text.count("&lt;script") >= 8
    assert any('alert("x")' in data for data in Page(text).text)


def test_anchors_have_targets(run):
    page = Page(write_report(run).read_text())
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"}
    assert links <= ids
    assert links


def test_headline_numbers_and_command_are_there(run):
    page = " ".join(Page(write_report(run).read_text()).text)
    assert "3.988" in page
    assert re.search(r"mean AUROC, near\s+0\.9\b", page)
    assert "innflow-train +experiment=cats_ood 'data.root=/a b/<script>'" in page


def test_an_empty_folder_gives_a_page(tmp_path):
    assert "How to reproduce" in write_report(tmp_path).read_text()


def test_a_missing_figure_is_named(run):
    (run / "figures" / "one_main.png").unlink()
    with pytest.raises(
        InnflowError, match=r"one_main\.png: this figure of report\.json is missing"
    ):
        write_report(run)


def test_a_damaged_file_is_named(run):
    (run / "metrics.json").write_text("{")
    with pytest.raises(InnflowError, match=r"metrics\.json: not readable as JSON"):
        write_report(run)


def test_report_json_is_plain_data(run):
    (section,) = json.loads((run / "report.json").read_text())
    assert section.keys() == {"name", "title", "text", "figures", "tables"}
    assert section["figures"][0]["file"] == "figures/one_main.png"
    assert not list(run.rglob("*.partial"))


def test_metrics_are_merged_and_must_not_collide(tmp_path):
    both = {"one": findings("a"), "two": findings("b")}
    assert save_findings(both, tmp_path / "good") == {"a": 0.5, "b": 0.5}
    with pytest.raises(InnflowError, match="analysis two: metric a is already"):
        save_findings({"one": findings("a"), "two": findings("a")}, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_a_metric_that_is_not_finite_is_named(tmp_path):
    found = findings()
    found.metrics["x"] = float("nan")
    with pytest.raises(InnflowError, match="metric x is nan"):
        save_findings({"one": found}, tmp_path)


def test_figure_of_the_analysis_name_is_called_so(tmp_path):
    found = findings()
    found.figures = {"one": found.figures["main"]}
    save_findings({"one": found}, tmp_path)
    assert (tmp_path / "figures" / "one.png").exists()


def test_scores_csv_reads_back_whatever_the_names_are(tmp_path):
    names = [HOSTILE, 'comma, quote" and\r\nlines', "val/ünï/猫.jpg", "raw \udcff byte"]
    values = np.array([0.1, 1 / 3, 1e-300, -0.0])
    found = findings()
    found.items = {
        "path": np.array(names, dtype=object),
        "score": values,
        "set": np.array(["test"] * 4, dtype=object),
    }
    save_findings({"scores": found}, tmp_path)
    path = tmp_path / "scores.csv"
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["path", "score", "set"]
    assert [row[0] for row in rows] == [*names[:3], "raw \\udcff byte"]
    assert [float(row[1]) for row in rows] == values.tolist()


def test_two_tables_of_scores_are_refused(tmp_path):
    one, two = findings("a"), findings("b")
    one.items = two.items = {"path": np.array(["x"], dtype=object)}
    with pytest.raises(InnflowError, match=r"one and two both write scores\.csv"):
        save_findings({"one": one, "two": two}, tmp_path)
