"""Helpers of the analyses of classifiers: the application, labels, and draws of one class."""

import numpy as np

from innflow.analysis.study import Study, sample_in_batches
from innflow.app.classification import Classification
from innflow.errors import InnflowError


def require_classifier(study: Study, analysis: str, least: int = 1) -> Classification:
    """Return the application; raise InnflowError without classes or labels.

    Args:
        study: contains the application.
        analysis: name of the analysis, for the message.
        least: smallest number of classes.
    """
    app = study.app
    if not isinstance(app, Classification) or "label" not in study.sets["test"].parts:
        raise InnflowError(
            f"analysis {analysis}: needs app=classification and data with labels: leave it out "
            f"with analysis.{analysis}=null"
        )
    if len(app.classes) < least:
        raise InnflowError(
            f"analysis {analysis}: there is only one class: leave it out with "
            f"analysis.{analysis}=null"
        )
    return app


def labels_of(study: Study, name: str) -> np.ndarray:
    """Return the labels (N,) of the measured items of a set."""
    return study.sets[name].parts["label"].numpy()[study.index(name)]


def draw_class(study: Study, label: int, n: int, temperature: float = 1.0) -> np.ndarray:
    """Draw n items of a class with the study's seed, in data units."""
    app = require_classifier(study, "draws of a class")
    seed = study.seed + 1_000_000 * (label + 1)
    return sample_in_batches(app.sample, n, temperature, seed, label=label)
