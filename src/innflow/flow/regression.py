"""Regression: what is linear and Gaussian in p(x | context), solved before training begins."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.initialise import DataDependent, all_reduced
from innflow.flow.subnet import need_context

# Ridge and floor in units of the variance of a feature: collinear context has no unique slope, and
# features that depend on each other must not be divided by next to nothing.
RIDGE = 1e-6
FLOOR = 1e-4


class Regression(DataDependent):
    """z = W (x - A c - b) with lower-triangular W: the residuals of x on the context, whitened.

    It is the identity until `initialise` has seen data. Then A and b are the least-squares
    regression of x on the context c and W the inverse Cholesky factor of what is left, so that a
    linear-Gaussian posterior is exact from the start and others begin at their best linear
    approximation. All of it is trained on, in the precision of the input: under autocast a
    product in bfloat16 would not be invertible.

    Args:
        features: size of x, (B, features).
        context: size of c, (B, context).
    """

    def __init__(self, features: int, context: int) -> None:
        super().__init__()
        if features < 1 or context < 1:
            raise InnflowError(f"regression: features={features}, context={context}: takes >= 1")
        self.slope = nn.Parameter(torch.zeros(features, context))
        self.shift = nn.Parameter(torch.zeros(features))
        self.log_diagonal = nn.Parameter(torch.zeros(features))
        self.lower = nn.Parameter(torch.zeros(features, features))

    def _factor(self) -> Tensor:
        return self.lower.tril(-1) + self.log_diagonal.exp().diag()

    @torch.no_grad()
    def initialise(
        self, inputs: Tensor, context: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Solve the regression from the moments of all ranks' batches."""
        need_context(context, self.slope.shape[1], "regression")
        features = inputs.shape[1]
        ones = inputs.new_ones(len(inputs), 1)
        joined = torch.cat((inputs, cast(Tensor, context), ones), dim=1).double()
        moments = all_reduced(joined.T @ joined)
        count = moments[-1, -1]
        mean = moments[-1, :-1] / count
        covariance = moments[:-1, :-1] / count - torch.outer(mean, mean)
        unit = covariance.diagonal().clamp(min=1e-12)
        within = covariance[features:, features:] + (RIDGE * unit[features:]).diag()
        slope = torch.linalg.solve(within, covariance[features:, :features]).T
        rest = covariance[:features, :features] - slope @ covariance[features:, :features]
        rest = (rest + rest.T) / 2 + (FLOOR * unit[:features]).diag()
        inverse = torch.linalg.inv(torch.linalg.cholesky(rest))
        self.slope.copy_(slope)
        self.shift.copy_(mean[:features] - slope @ mean[features:])
        self.log_diagonal.copy_(inverse.diagonal().log())
        self.lower.copy_(inverse.tril(-1))
        self.initialised.fill_(True)

    def _predict(self, context: Tensor | None) -> Tensor:
        need_context(context, self.slope.shape[1], "regression")
        return torch.addmm(self.shift, cast(Tensor, context), self.slope.T)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, features) and (B, context) to outputs and logabsdet (B,)."""
        with torch.autocast(inputs.device.type, enabled=False):
            outputs = (inputs - self._predict(context)) @ self._factor().T
            return outputs, self.log_diagonal.sum().expand(len(inputs))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        with torch.autocast(inputs.device.type, enabled=False):
            solved = torch.linalg.solve_triangular(self._factor(), inputs.T, upper=False).T
            return solved + self._predict(context), -self.log_diagonal.sum().expand(len(inputs))
