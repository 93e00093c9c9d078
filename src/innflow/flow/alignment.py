"""Alignment: what is linear in y = f(x), solved before training begins."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.initialise import DataDependent, all_reduced

# In units of the standard deviation of y: where y does not depend linearly on anything, its rows
# start with this much of a direction that is left over, so that the layer can be inverted.
LEAST = 0.1
FLOOR = 1e-4


class Alignment(DataDependent):
    """y = W x + b with a full matrix W, that begins with the first features at their targets.

    It is the identity until `initialise` has seen data and targets. Then the first features are
    the least-squares regression of the targets on the inputs, and the others, white and
    uncorrelated with the first, are what is left: for y linear in x and eps and these Gaussian, it
    is the solution. All of it is trained on, in the precision of the input.

    Args:
        features: size of x, (B, features).
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        if features < 1:
            raise InnflowError(f"alignment: features={features} must be at least 1")
        self.weight = nn.Parameter(torch.eye(features))
        self.bias = nn.Parameter(torch.zeros(features))

    @torch.no_grad()
    def initialise(
        self, inputs: Tensor, context: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Solve the regression of targets (B, M) from the moments of all ranks' batches."""
        if targets is None:
            return
        features, known = inputs.shape[1], targets.shape[1]
        ones = inputs.new_ones(len(inputs), 1)
        joined = torch.cat((inputs, targets, ones), dim=1).double()
        moments = all_reduced(joined.T @ joined)
        mean = moments[-1, :-1] / moments[-1, -1]
        covariance = moments[:-1, :-1] / moments[-1, -1] - torch.outer(mean, mean)
        own = covariance[:features, :features]
        own = own + (FLOOR * own.diagonal().clamp(min=FLOOR)).diag()
        whiten = torch.linalg.inv(torch.linalg.cholesky(own))
        left, sizes, right = torch.linalg.svd(covariance[features:, :features] @ whiten.T)
        floor = LEAST * covariance.diagonal()[features:].mean().sqrt()
        fitted = left @ sizes.clamp(min=float(floor)).diag() @ right[:known]
        weight = torch.cat((fitted, right[known:])) @ whiten
        self.weight.copy_(weight)
        bias = -weight @ mean[:features]
        bias[:known] += mean[features:]
        self.bias.copy_(bias)
        self.initialised.fill_(True)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, features) to outputs and logabsdet (B,)."""
        with torch.autocast(inputs.device.type, enabled=False):
            logabsdet = torch.linalg.slogdet(self.weight).logabsdet
            return torch.addmm(self.bias, inputs, self.weight.T), logabsdet.expand(len(inputs))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        with torch.autocast(inputs.device.type, enabled=False):
            outputs = torch.linalg.solve(self.weight, (inputs - self.bias).T).T
            logabsdet = torch.linalg.slogdet(self.weight).logabsdet
            return outputs, -logabsdet.expand(len(inputs))
