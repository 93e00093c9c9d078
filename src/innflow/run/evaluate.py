"""Analyses of a trained application: their study, their findings, the metrics and the report."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from innflow.analysis.study import Analysis, Study
from innflow.app import Application, Generation
from innflow.config.build import build
from innflow.dashboard import publish
from innflow.data.base import PartsDataModule
from innflow.errors import InnflowError
from innflow.latent import PrincipalNormal
from innflow.run.load import LATENTS, SCORES
from innflow.run.report.artifacts import save_findings
from innflow.run.report.run_report import write_report
from innflow.system.file.atomic import write_json

log = logging.getLogger(__name__)


def build_study(
    app: Application,
    data: PartsDataModule,
    config: Mapping[str, Any],
    run_dir: Path,
    analyses: Mapping[str, Analysis],
) -> Study:
    """Build the `Study` passed to every analysis, and check that each analysis can run on it.

    `app` may be untrained. Scores of a finished run are not refitted on new data; they always refer
    to the run's training set.

    Raises:
        InnflowError: if the scores or an analysis do not fit the data.
    """
    limit = config["study"].get("train_limit")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 2:
        raise InnflowError(f"study.train_limit={limit}: must be an integer of at least 2")
    quick = config["study"].get("quick")
    if not isinstance(quick, bool):
        raise InnflowError(f"study.quick={quick}: must be true or false")
    scorer = app.scorer
    if config["score"] and (scorer is None or app.config["score"] != config["score"]):
        scorer = build(config["score"], "score")
    study = Study(app, data, data.sets(), scorer, config["seed"], limit, run_dir, quick)
    if scorer is not None:
        _ = study.calibration_index  # refuses a test set too small to be divided
        scorer.check(app.companions)
    for analysis in analyses.values():
        analysis.check(study)
    return study


def run_analyses(study: Study, analyses: Mapping[str, Analysis], out: Path) -> dict[str, float]:
    """Fit the scores, apply every analysis, write the findings and return the metrics of all."""
    started = time.monotonic()
    if study.scorer is not None:
        if not study.scorer.fitted:
            study.fit_scorer()
        study.app.scorer = study.scorer
        study.scorer.save(out / SCORES)
    if isinstance(study.app, Generation) and study.app.components:
        if study.app.fitted_latents is None:
            latents = study.measure("train").latent
            fitted = PrincipalNormal.fit(latents, study.app.components, study.seed)
            study.app.fitted_latents = fitted
        study.app.fitted_latents.save(out / LATENTS)
    findings = {}
    for name, analysis in analyses.items():
        log.info("analysis %s", name)
        findings[name] = analysis(study)
    metrics = save_findings(findings, out)
    return metrics | {"time/study_seconds": time.monotonic() - started}


def write_results(
    out: Path, metrics: Mapping[str, float], dashboards: Sequence[Logger] = (), step: int = 0
) -> None:
    """Write metrics.json and report.html, and send them to the dashboards."""
    write_json(out / "metrics.json", dict(sorted(metrics.items())))
    write_report(out)
    publish(out, metrics, dashboards, step)
