"""Generalised linear model of spikes: a Bernoulli variable for each of 100 time bins.

`forward` returns ten sufficient statistics, `forward_raw` the spikes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import MultivariateNormal

from experiments.simulator.benchmark import load_constants

CONSTANTS = load_constants("bernoulli_glm")
LAGS = 9


def _precision() -> Tensor:
    difference = torch.eye(LAGS) - torch.eye(LAGS).roll(1, dims=0).tril(-1)
    smooth = difference @ difference + (torch.arange(LAGS) / LAGS).sqrt().diag()
    return torch.block_diag(torch.tensor([[0.5]]), smooth.T @ smooth)


prior = MultivariateNormal(torch.zeros(1 + LAGS), precision_matrix=_precision())


def forward_raw(x: Tensor) -> Tensor:
    """Return random spikes (B, 100) for parameters (B, 10)."""
    return torch.bernoulli((x @ CONSTANTS["design_matrix"].T).sigmoid())


def summarize(spikes: Tensor) -> Tensor:
    """Return number of spikes and their correlation with the stimulus, (B, 10)."""
    filters = CONSTANTS["stimulus"][None, None]
    average = F.conv1d(spikes[:, None], filters, padding=LAGS - 1)[:, 0, -LAGS:]
    return torch.cat((spikes.sum(dim=1, keepdim=True), average), dim=1)


def forward(x: Tensor) -> Tensor:
    """Return random statistics (B, 10) for parameters (B, 10)."""
    return summarize(forward_raw(x))
