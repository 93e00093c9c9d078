"""Linear layers that are solved from data before training."""

from typing import cast

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.initialise import DataDependent, all_reduced
from innflow.flow.network.base import need_context

# In units of the variance of a feature: collinear context features have no unique slope, and the
# covariance of dependent features has no Cholesky factor.
RIDGE = 1e-6
FLOOR = 1e-4

# Lower bound on the singular values, in units of the standard deviation of the targets, so that W
# stays invertible when the targets do not depend on x.
LEAST = 0.1


def _moments(*parts: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of all features of the parts (B, F_i), over all ranks."""
    ones = parts[0].new_ones(len(parts[0]), 1)
    joined = torch.cat((*parts, ones), dim=1).double()
    moments = all_reduced(joined.T @ joined)
    moments = moments / moments[-1, -1]
    mean = moments[-1, :-1]
    return mean, moments[:-1, :-1] - torch.outer(mean, mean)


def _slope(covariance: Tensor, known: int) -> Tensor:
    """Return the slope of the regression of the first features on the last `known` ones."""
    within = covariance[-known:, -known:]
    ridge = RIDGE * within.diagonal().clamp(min=1e-12)
    return torch.linalg.solve(within + ridge.diag(), covariance[-known:, :-known]).T


class Regression(DataDependent):
    """z = W (x - A c - b) with lower-triangular W: the residuals of x on the context, whitened.

    It is the identity until `initialise` is called, which sets A and b to the least-squares
    regression of x on the context c and W to the inverse Cholesky factor of the covariance of the
    residuals: a linear-Gaussian posterior is then exact, and others start at their best linear
    approximation. All of it is trained further. Autocast is disabled: in bfloat16 the product could
    not be inverted.

    Args:
        features: size of x, (B, features).
        context: size of c, (B, context).

    Raises:
        InnflowError: if a size is below 1.

    Example:
        >>> z, logabsdet = Regression(2, context=3)(torch.randn(5, 2), torch.randn(5, 3))
        >>> z.shape, logabsdet.shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(self, features: int, context: int) -> None:
        super().__init__()
        if features < 1 or context < 1:
            raise InnflowError(f"regression: features={features}, context={context}: must be >= 1")
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
        mean, covariance = _moments(inputs, cast(Tensor, context))
        unit = covariance.diagonal().clamp(min=1e-12)
        slope = _slope(covariance, self.slope.shape[1])
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
        """Map outputs of `forward` to its inputs and logabsdet (B,)."""
        with torch.autocast(inputs.device.type, enabled=False):
            solved = torch.linalg.solve_triangular(self._factor(), inputs.T, upper=False).T
            return solved + self._predict(context), -self.log_diagonal.sum().expand(len(inputs))


class Alignment(DataDependent):
    """y = W x + b with a full matrix W that is initialised by a regression of targets on x.

    It is the identity until `initialise` is called with targets (B, M). Then the first M outputs
    are the least-squares regression of the targets on the inputs, and the others are white and
    uncorrelated with them: the solution for targets that are linear in a Gaussian x. All of it is
    trained further. Autocast is disabled.

    Args:
        features: size of x, (B, features).

    Raises:
        InnflowError: if the size is below 1.

    Example:
        >>> y, logabsdet = Alignment(3)(torch.randn(5, 3))
        >>> y.shape, logabsdet.shape
        (torch.Size([5, 3]), torch.Size([5]))
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
        mean, covariance = _moments(inputs, targets)
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
        """Map outputs of `forward` to its inputs and logabsdet (B,)."""
        with torch.autocast(inputs.device.type, enabled=False):
            outputs = torch.linalg.solve(self.weight, (inputs - self.bias).T).T
            logabsdet = torch.linalg.slogdet(self.weight).logabsdet
            return outputs, -logabsdet.expand(len(inputs))


class LinearForecast(DataDependent):
    """y = e + A x + b of the last features e, given the others x: the linear part of a forward map.

    It is the identity until `initialise` is called with targets (B, M), which sets A and b to their
    least-squares regression on x. Both are trained further. Autocast is disabled.

    Args:
        features: size of x and e together, (B, features).
        observed: size M of e, which comes last.

    Raises:
        InnflowError: if `observed` is not between 1 and `features` - 1.

    Example:
        >>> outputs, logabsdet = LinearForecast(3, observed=1)(torch.randn(5, 3))
        >>> outputs.shape, logabsdet.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(self, features: int, observed: int) -> None:
        super().__init__()
        if not 0 < observed < features:
            raise InnflowError(f"linear forecast: observed={observed} of {features}: must be fewer")
        self.slope = nn.Parameter(torch.zeros(observed, features - observed))
        self.shift = nn.Parameter(torch.zeros(observed))

    @torch.no_grad()
    def initialise(
        self, inputs: Tensor, context: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Solve the regression of the targets from the moments of all ranks' batches."""
        if targets is None:
            return
        mean, covariance = _moments(targets, self._split(inputs)[0])
        slope = _slope(covariance, self.slope.shape[1])
        self.slope.copy_(slope)
        self.shift.copy_(mean[: len(slope)] - slope @ mean[len(slope) :])
        self.initialised.fill_(True)

    def _split(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        x, e = inputs.split((self.slope.shape[1], len(self.slope)), dim=1)
        return x, e

    def _shifted(self, inputs: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        with torch.autocast(inputs.device.type, enabled=False):
            x, e = self._split(inputs)
            shift = torch.addmm(self.shift, x, self.slope.T)
            return torch.cat((x, e + sign * shift), dim=1), inputs.new_zeros(len(inputs))

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, features) to outputs and logabsdet (B,)."""
        return self._shifted(inputs, 1)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map outputs of `forward` to its inputs and logabsdet (B,)."""
        return self._shifted(inputs, -1)
