"""Files of the analyses of a run: figures/*.png, report.json and scores.csv."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from innflow.analysis.findings import Findings
from innflow.errors import InnflowError
from innflow.figure.style import to_png
from innflow.run.scores_csv import write_scores
from innflow.system.file.atomic import write_text, writing


def save_findings(findings: Mapping[str, Findings], run_dir: Path) -> dict[str, float]:
    """Write the figures, report.json and scores.csv of a run, and return all metrics.

    report.json is a list of `{name, title, text, figures: [{file, caption}], tables: [{title,
    columns, rows}]}`. The file of a figure is `<analysis>_<figure>.png`.

    Raises:
        InnflowError: if two analyses use one name for a metric or a figure, if both write
            scores.csv, or if a metric is not finite.
    """
    metrics: dict[str, float] = {}
    figures: dict[str, Any] = {}
    sections: list[dict[str, Any]] = []
    scored = [name for name, found in findings.items() if found.items]
    if len(scored) > 1:
        raise InnflowError(f"analyses {' and '.join(scored)} both write scores.csv: keep one")
    for name, found in findings.items():
        for metric, value in found.metrics.items():
            if metric in metrics:
                raise InnflowError(f"analysis {name}: metric {metric} is already used by another")
            if not math.isfinite(value):
                raise InnflowError(f"analysis {name}: metric {metric} is {value}")
            metrics[metric] = float(value)
        section: dict[str, Any] = {"name": name, "title": found.title, "text": found.text}
        section |= {"figures": [], "tables": [asdict(table) for table in found.tables]}
        sections.append(section)
        for key, plot in found.figures.items():
            file = f"figures/{name}.png" if key == name else f"figures/{name}_{key}.png"
            if file in figures:
                raise InnflowError(f"analysis {name}: {file} is already used by another")
            figures[file] = plot.figure
            section["figures"].append({"file": file, "caption": plot.caption})
    (run_dir / "figures").mkdir(parents=True, exist_ok=True)
    for file, figure in figures.items():
        with writing(run_dir / file) as opened:
            opened.write(to_png(figure))
    for name in scored:
        write_scores(findings[name].items, run_dir / "scores.csv")
    write_text(run_dir / "report.json", json.dumps(sections, indent=1))
    return metrics
