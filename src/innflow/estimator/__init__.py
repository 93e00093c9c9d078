"""Estimators for scikit-learn: densities, anomalies, classes and posteriors of rows of numbers."""

from innflow.estimator.anomaly import FlowAnomalyDetector
from innflow.estimator.classifier import FlowClassifier
from innflow.estimator.density import FlowDensity
from innflow.estimator.posterior import FlowPosterior

__all__ = ["FlowAnomalyDetector", "FlowClassifier", "FlowDensity", "FlowPosterior"]
