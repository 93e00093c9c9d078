"""A run folder turned into one HTML page that needs nothing besides itself."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from innflow.analysis.findings import Findings
from innflow.errors import InnflowError
from innflow.figure.style import DPI

# metric -> (label, unit), in the order in which a reader wants them.
HEADLINES = {
    "test/bpd": ("test", "bits/dim"),
    "train/bpd": ("train", "bits/dim"),
    "test/kl": ("KL(p || q)", "nats"),
    "test/nll": ("test", "nats"),
    "test/integral": ("integral of the density", ""),
    "test/accuracy": ("accuracy", ""),
    "test/ece": ("expected calibration error", ""),
    "posterior/c2st": ("C2ST to the reference", "0.5 is equal"),
    "posterior/err_post_median": ("median Err_post", "MMD"),
    "posterior/err_resim_median": ("median Err_resim", "squared"),
    "posterior/nltp": ("-log p of the true parameters", "nats"),
    "posterior/sbc_p": ("SBC, smallest p-value", "corrected"),
    "roundtrip/max_error": ("largest round-trip error", "data units"),
    "time/train_seconds": ("training", "seconds"),
    "time/images_per_second": ("training", "items/s"),
}
MOST_HEADLINES = 8
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What the text of a cell begins with where a spreadsheet takes it for a formula."""

CSS = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6570;--line:#dfe3e8;
--page:#fff;--card:#f6f7f9;--link:#0072b2}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa5b1;--line:#343b43;
--page:#14171a;--card:#1d2126;--link:#6cb8e6}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.2;margin:.2rem 0}
h2{font-size:1.25rem;margin:2.6rem 0 .6rem;padding-top:.9rem;border-top:1px solid var(--line)}
a{color:var(--link)}
p{max-width:46rem}
.soft,figcaption,caption{color:var(--soft);font-size:.875rem}
nav{font-size:.9rem;display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:1rem 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));
gap:.7rem;margin:1.2rem 0}
.card{background:var(--card);border-radius:8px;padding:.7rem .9rem}
.card b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums;line-height:1.25}
.card small{color:var(--soft);font-weight:400;font-size:.85rem}
figure{margin:1.4rem 0}
figure img{display:block;max-width:100%;height:auto;background:#fff;border-radius:6px;
border:1px solid var(--line)}
figcaption{margin-top:.4rem;max-width:46rem}
.wide{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;min-width:60%}
caption{text-align:left;padding:.2rem 0}
th,td{padding:.28rem .8rem .28rem 0;text-align:left;border-bottom:1px solid var(--line);
white-space:nowrap}
td.n,th.n{text-align:right}
pre{background:var(--card);border-radius:6px;padding:.8rem;overflow-x:auto;font-size:.82rem;
line-height:1.45;white-space:pre-wrap}
summary{cursor:pointer;font-weight:600;margin:.7rem 0}
@media print{body{max-width:none;font-size:10.5pt;padding:0}nav{display:none}
figure,table,.card{break-inside:avoid}h2{break-after:avoid}}
"""


def save_findings(findings: Mapping[str, Findings], run_dir: Path) -> dict[str, float]:
    """Write figures/*.png, report.json and scores.csv of a run, and return all its metrics.

    report.json is a list of `{name, title, text, figures: [{file, caption}], tables: [{title,
    columns, rows}]}`. A figure is named after its analysis and itself.

    Raises:
        InnflowError: where two analyses claim one metric, figure or scores.csv, or a metric is
            not finite.
    """
    metrics: dict[str, float] = {}
    sections = []
    drawn: dict[str, Any] = {}
    scored = [name for name, found in findings.items() if found.items]
    if len(scored) > 1:
        raise InnflowError(f"analyses {' and '.join(scored)} both write scores.csv: keep one")
    for name, found in findings.items():
        for metric, value in found.metrics.items():
            if metric in metrics:
                raise InnflowError(f"analysis {name}: metric {metric} is already another's")
            if not math.isfinite(value):
                raise InnflowError(f"analysis {name}: metric {metric} is {value}")
            metrics[metric] = float(value)
        files = []
        for key, plot in found.figures.items():
            file = f"{name}.png" if key == name else f"{name}_{key}.png"
            if file in drawn:
                raise InnflowError(f"analysis {name}: figure {file} is already another's")
            drawn[file] = plot.figure
            files.append({"file": f"figures/{file}", "caption": plot.caption})
        tables = [
            {"title": table.title, "columns": list(table.columns), "rows": list(table.rows)}
            for table in found.tables
        ]
        sections.append(
            {
                "name": name,
                "title": found.title,
                "text": found.text,
                "figures": files,
                "tables": tables,
            }
        )
    (run_dir / "figures").mkdir(parents=True, exist_ok=True)
    for file, figure in drawn.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
        _write(run_dir / "figures" / file, buffer.getvalue())
    for name in scored:
        write_scores(findings[name].items, run_dir / "scores.csv")
    _write(run_dir / "report.json", json.dumps(sections, indent=1).encode())
    return metrics


def write_scores(items: Mapping[str, np.ndarray], path: Path) -> None:
    """Write one row an item, whole or not at all; numbers read back to the last bit."""
    _write(path, to_csv(items).encode())


def to_csv(items: Mapping[str, np.ndarray]) -> str:
    """Return one row an item, in UTF-8, with nothing in it that a spreadsheet would calculate.

    A file name keeps every character but two kinds: bytes that are no UTF-8 become Python's
    escapes, and one that begins like a formula begins with ./ instead, which is the same path.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(items)
    columns = [[_cell(value) for value in column.tolist()] for column in items.values()]
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "backslashreplace").decode()
    return f"./{text}" if text.startswith(FORMULA) else text


def write_report(run_dir: Path) -> Path:
    """Write report.html from what lies in a run folder, and return its path."""
    run_dir = Path(run_dir)
    sections = _json(run_dir / "report.json", [])
    metrics = _json(run_dir / "metrics.json", {})
    environment = _json(run_dir / "environment.json", {})
    config = _text(run_dir / "config.yaml")
    overrides = _overrides(run_dir / "overrides.yaml")
    title = _title(overrides, run_dir)
    command = shlex.join(["innflow-train", *overrides])
    links = "".join(
        f'<a href="#{escape(_anchor(section["name"]), True)}">{escape(section["title"])}</a>'
        for section in sections
    )
    where = " · ".join(
        f"{escape(key)} {escape(str(environment[key]))}"
        for key in ("device", "seed", "commit")
        if environment.get(key) is not None
    )
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} - innflow</title>
<style>{CSS}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="soft">innflow · {escape(run_dir.resolve().name)}{" · " + where if where else ""}</p>
<div class="cards">{"".join(_cards(metrics, _headline(config)))}</div>
<nav>{links}<a href="#reproduce">How to reproduce</a></nav>
</header>
<main>
{"".join(_section(section, run_dir) for section in sections)}
<section id="reproduce">
<h2>How to reproduce</h2>
<pre>{escape(command)}</pre>
<details><summary>All metrics ({len(metrics)})</summary>
{_table("metrics.json", ("metric", "value"), [(k, _number(v)) for k, v in metrics.items()])}
</details>
<details><summary>Environment</summary>
{_table("environment.json", ("name", "value"), list(_flat(environment)))}
</details>
<details><summary>Configuration</summary><pre>{escape(config)}</pre></details>
</section>
</main>
</body>
</html>
"""
    target = run_dir / "report.html"
    _write(target, page.encode("utf-8", "replace"))
    return target


def _cards(metrics: Mapping[str, float], headline: str) -> Iterable[str]:
    chosen = [(key, *HEADLINES[key]) for key in HEADLINES if key in metrics]
    area = f"ood/{headline}/mean/auroc"
    if area in metrics:
        chosen.insert(2, (area, f"mean AUROC, {headline.replace('_', ' ')}", ""))
    if "test/bpd" in metrics:
        chosen = [card for card in chosen if card[0] != "test/nll"]
    for key, label, unit in chosen[:MOST_HEADLINES]:
        yield (
            f'<div class="card" title="{escape(key, True)}"><small>{escape(label)}</small>'
            f"<b>{_number(metrics[key])}</b><small>{escape(unit)}</small></div>"
        )


def _section(section: Mapping[str, Any], run_dir: Path) -> str:
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in section["text"].split("\n\n") if text)
    tables = "".join(_table(t["title"], t["columns"], t["rows"]) for t in section["tables"])
    figures = "".join(_figure(figure, run_dir) for figure in section["figures"])
    return (
        f'<section id="{escape(_anchor(section["name"]), True)}">\n'
        f"<h2>{escape(section['title'])}</h2>\n{paragraphs}\n{tables}\n{figures}\n</section>\n"
    )


def _figure(figure: Mapping[str, str], run_dir: Path) -> str:
    path = run_dir / figure["file"]
    if not path.is_file():
        raise InnflowError(f"{path}: report.json names this figure, but it is not there")
    data = base64.b64encode(path.read_bytes()).decode()
    caption = escape(figure["caption"], True)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # A column of numbers stands to the right, its heading too.
    numeric = [
        bool(rows) and all(str(row[index])[:1] in "-+.0123456789" for row in rows)
        for index in range(len(columns))
    ]
    kinds = [' class="n"' if is_number else "" for is_number in numeric]
    head = "".join(f"<th{kind}>{escape(c)}</th>" for kind, c in zip(kinds, columns, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{k}>{escape(str(cell))}</td>" for k, cell in zip(kinds, row, strict=True))
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="wide"><table><caption>{escape(title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n"
    )


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return escape(str(value))
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"


def _flat(tree: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, str(tree)


def _anchor(name: str) -> str:
    return "section-" + "".join(letter if letter.isalnum() else "-" for letter in name)


def _title(overrides: Sequence[str], run_dir: Path) -> str:
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") == "experiment":
            return value
    return run_dir.resolve().name


def _headline(config: str) -> str:
    """Return the name of the headline score of a config.yaml, empty if it has none."""
    score = (_yaml(config, "config.yaml") or {}).get("score") or {}
    return str(score.get("headline", ""))


def _overrides(path: Path) -> list[str]:
    if not path.is_file():
        return []
    overrides = _yaml(_text(path), path) or []
    if not isinstance(overrides, list):
        raise InnflowError(f"{path}: should be a list of overrides")
    return [str(override) for override in overrides]


def _yaml(text: str, source: object) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InnflowError(f"{source}: not readable as YAML") from error


def _json(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InnflowError(f"{path}: not readable as JSON") from error


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
