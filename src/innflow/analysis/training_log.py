"""Learning curves from the log of a run."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from innflow.analysis.findings import Findings, Plot
from innflow.analysis.study import Analysis, Study
from innflow.errors import InnflowError
from innflow.figure.learning_curves import Curve, plot_learning_curves

PROGRESS = {"step": ("step", 1.0), "minutes": ("time/seconds", 1 / 60)}


@dataclass
class Training(Analysis):
    """Draw the loss on the training and the validation set over steps and minutes.

    Reads metrics.csv of the run folder: columns `step`, `time/seconds` if present, and
    `train/bpd`, `val/bpd` for images, `train/nll`, `val/nll` for vectors.

        >>> Training()
        Training()
    """

    def __call__(self, study: Study) -> Findings:
        """Draw the learning curves of the training and the validation set."""
        if study.run_dir is None or not (study.run_dir / "metrics.csv").is_file():
            return Findings(
                "Training", "The run folder has no metrics.csv, so there are no learning curves."
            )
        columns = read_metrics(study.run_dir / "metrics.csv")
        quantity, unit = ("bpd", "bits/dim") if study.is_image else ("nll", "nats")
        sources = {"train": f"train/{quantity}", "val": f"val/{quantity}"}
        curves = {name: columns[key] for name, key in sources.items() if key in columns}
        if not curves:
            raise InnflowError(
                f"{study.run_dir / 'metrics.csv'}: neither {' nor '.join(sources.values())} is "
                "among its columns"
            )
        panels: dict[str, dict[str, Curve]] = {}
        for label, (key, factor) in PROGRESS.items():
            if key in columns:
                # Interpolated for rows without the measure of progress.
                panels[label] = {
                    name: (np.interp(rows, *columns[key]) * factor, y)
                    for name, (rows, y) in curves.items()
                }
        parts = [
            f"{name} {y[0]:.3f} to {y[-1]:.3f} (lowest {y.min():.3f})"
            for name, (_, y) in curves.items()
        ]
        steps = int(columns["step"][1].max())
        text = (
            f"Over {steps:,} steps: {'; '.join(parts)} {unit}. The best checkpoint is chosen by "
            "the loss on the validation set, which is not used for training; the test set is not "
            "used."
        )
        if study.is_image:
            text += (
                " Both have dequantization noise, in the validation set one draw per image, "
                "the same at every validation: upper bounds of the discrete code length."
            )
        plot = Plot(
            plot_learning_curves(panels, unit),
            "Learning curves. The axis excludes the highest 3% of the values, those of the first "
            "steps.",
        )
        return Findings("Training", text, figures={"training": plot})


def read_metrics(path: Path) -> dict[str, Curve]:
    """Read a metrics.csv: column -> (row numbers, values) of its finite numbers."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns: dict[str, tuple[list[int], list[float]]] = {}
    for number, row in enumerate(rows):
        for name, cell in row.items():
            if name is None or not cell:
                continue
            try:
                value = float(cell)
            except ValueError as error:
                raise InnflowError(f"{path}: row {number + 2}, {name}: not a number") from error
            if math.isfinite(value):
                where, values = columns.setdefault(name, ([], []))
                where.append(number)
                values.append(value)
    return {name: (np.array(where), np.array(values)) for name, (where, values) in columns.items()}
