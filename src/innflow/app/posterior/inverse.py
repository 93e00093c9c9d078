"""Bayesian inverse problems: posteriors of parameters given data (applications 5 to 7)."""

import math
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from innflow.app.inputs import to_tensor
from innflow.app.module import Noise
from innflow.app.posterior.conditional import Conditional
from innflow.app.posterior.coordinates import Bounded, Standardized, Unconstrained
from innflow.app.posterior.misspecification import MisspecificationTest
from innflow.app.posterior.trials import shuffle_trials, trial_orders
from innflow.errors import InnflowError
from innflow.latent.density import draw_normal
from innflow.objective.base import Parts, Step
from innflow.partition import PAD
from innflow.system.progress import announce
from innflow.system.ranks import seeded_generator

ROWS = 10_000
"""Posterior samples that go through the flow at a time."""
INITIAL_ROWS = 20_000
"""Simulations from which data-dependent layers are initialised."""
DETERMINISTIC_WIDTH = 0.01
"""Standard deviation of y, in those of the data, where the forward model has no noise."""


class Inverse(Conditional):
    """The posterior p(x | y) of parameters x given data y.

    There are three ways of training:

    - conditional, [x] <-> [z] with y as context of every coupling: minimises -log p(x | y). No
      forward map is learned.
    - maximum likelihood, [x] <-> [y, z] or [x, eps] <-> [y, z]: with a standard deviation s of y,
      minimises |z|^2/2 + |y_hat - y|^2/(2 s^2) - log|det|. The forward pass is a surrogate of the
      simulator; with the data noise eps on the left it is exact, and eps is inferred with x.
      Padding of the size of y, as of `innflow.flow.surrogate`, carries most of the noise of y
      (`NoisePadding`); s^2 is the rest of its variance in training, and afterwards the mean
      square of y_hat - y in validation, with the error of the surrogate.
    - MMD, with the same partitions: see `innflow.objective.bidirectional`.

    Parameters x and data y are in the user's units everywhere: parameters are mapped to
    unconstrained coordinates, and posterior samples lie in the support of the prior.

    Args:
        bounded: map of an interval to the real line: probit or logit.
        trials: number of exchangeable trials under the same parameters, concatenated in y. Training
            shuffles them, and the posterior is averaged over their orders. The other arguments are
            those of `Conditional`.

    Raises:
        InnflowError: if the partition is not one of these, or y is not that many trials.

    Example:
        >>> from innflow import Partition, flow
        >>> partition = Partition({"x": (2,)}, {"z": (2,)}, context={"y": (3,)})
        >>> app = Inverse(flow.vector(2, depth=2, hidden=(8,), context=3), partition)
        >>> app.posterior(torch.zeros(3), n=100, seed=0).shape
        torch.Size([100, 2])
    """

    def __init__(
        self,
        *args: Any,
        bounded: Bounded = "probit",
        trials: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        right, context = self.partition.right, self.partition.context
        if "x" not in self.partition.left or ("y" in right) == ("y" in context):
            raise InnflowError(
                "Inverse: the partition must be x <-> z with y as context, x <-> y, z or "
                f"x, eps <-> y, z, not {self.partition}"
            )
        self.x_units = Unconstrained(self.shape[0], bounded)
        self.y_units = Standardized(math.prod(self.y_shape))
        self.misspecification = MisspecificationTest()
        self.trials = trials
        columns = len(self.y_units.mean)
        if trials < 1 or columns % trials:
            raise InnflowError(f"app.trials={trials}: y has {columns} columns, no multiple of it")
        if trials > 1 and (not self.conditional or self.embedding is not None):
            raise InnflowError(f"app.trials={trials}: is for partition=given_y without embedding")

    @property
    def width(self) -> float:
        """Standard deviation of the noise now added to the standardised y; 0 for none."""
        if "y" not in self.latent or self.observed.matched:
            return 0.0
        return self.observed.width

    def setup(self, stage: str) -> None:
        """Fit the coordinates to the training simulations, unless a checkpoint has them."""
        if stage == "fit" and not self.misspecification.fitted:
            self.fit_units(cast(Any, self.trainer).datamodule)

    def fit_units(self, data: Any) -> None:
        """Fit coordinates, misspecification test and standard deviation of y to a data module."""
        parts = data.sets()["train"].parts
        support = data.support
        self.x_units.fit(parts["x"], support.low, support.high, support.discrete)
        columns = len(self.y_units.mean)
        # All trials share one standardisation, as they are shuffled.
        channels = torch.arange(columns) % (columns // self.trials)
        if self.embedding is not None:
            channels = self.embedding.channels
        self.y_units.fit_channels(parts["y"], channels, self.conditional and data.noise is None)
        order = torch.randperm(len(parts["y"]), generator=torch.Generator().manual_seed(0))
        self.misspecification.fit(self.y_units(parts["y"][order[:ROWS]]), self.summarize)
        self._set_default_width(data.deterministic, data.noise)

    def _set_default_width(self, deterministic: bool, noise: Tensor | None) -> None:
        if "y" not in self.latent or self.observed.sigma is not None:
            return
        self.observed.sigma = DETERMINISTIC_WIDTH if deterministic or not self.conditional else 0.0
        if noise is not None and not self.conditional and "eps" not in self.partition.left:
            if self.carries and bool(noise.tril(-1).any()):
                raise InnflowError(
                    "data.noise is correlated, which padding cannot carry: use partition=given_y, "
                    "or partition=x_eps_yz model=vector model.align=true"
                )
            self.observed.match(noise.square().sum(dim=1).sqrt() * self.y_units.slope())
        if deterministic:
            announce(
                "the forward model has no noise, so p(x | y) has no density: training adds noise "
                f"of {DETERMINISTIC_WIDTH} standard deviations to y (latent.y.sigma)"
            )

    def preprocess(self, batch: Parts, noise: Noise) -> dict[str, Tensor]:
        """Return the parameters in unconstrained coordinates, and the data noise unchanged."""
        x, _ = self.x_units(batch["x"].to(self.parameter_dtype), noise)
        return {"x": x, "eps": batch["eps"].to(x)} if "eps" in self.partition.left else {"x": x}

    def targets(self, batch: Parts, noise: Noise) -> dict[str, Tensor]:
        """Return the standardised data with Gaussian noise of standard deviation `width`.

        The noise is drawn with seed 0 if `noise` is None.
        """
        y = self.y_units(batch["y"].to(self.parameter_dtype))
        if self.trials > 1 and isinstance(noise, torch.Generator):
            y = shuffle_trials(y, self.trials, noise)
        if self.width > 0:
            y = y + self.width * draw_normal(y, seeded_generator(noise or 0))
        return {"y": y}

    def initial_batch(self, loader: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return several batches, enough simulations for a linear regression."""
        batches: list[dict[str, Tensor]] = []
        for batch in loader:
            batches.append(batch)
            if len(batches) * len(batch["x"]) * self.trainer.world_size >= INITIAL_ROWS:
                break
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}

    def posterior(self, y: Any, n: int = 1000, seed: int | None = None) -> Tensor:
        """Sample p(x | y) in data units, (n, P) for y (M,) or (B, n, P) for y (B, M).

        Args:
            y: observed data in data units: a tensor, array, list, data frame or path of a table,
                in the shape of one y or flat; NaN or a blank is missing, a set may be smaller.
            n: number of samples for each observation.
            seed: of the samples; torch's global generator where None.

        Raises:
            InnflowError: if n < 1, y has another number of columns, or a value of y or a sample
                is not finite.
        """
        return self._posterior(y, n, seed)["x"]

    def posterior_noise(self, y: Any, n: int = 1000, seed: int | None = None) -> Tensor:
        """Return the data noise eps of the samples of `posterior`, (n, M) or (B, n, M).

        Raises:
            InnflowError: if the partition has no eps, and as `posterior`.
        """
        if "eps" not in self.partition.left:
            raise InnflowError(
                f"posterior_noise: there is no eps in {self.partition}: partition=x_eps_yz has it"
            )
        return self._posterior(y, n, seed)["eps"]

    def _posterior(self, y: Any, n: int, seed: int | None) -> dict[str, Tensor]:
        if n < 1:
            raise InnflowError(f"posterior: n={n}: must be at least 1")
        observed, alone = self._observations(y)
        generator = seeded_generator(seed)
        rows = observed.repeat_interleave(n, dim=0)
        if self.trials > 1:
            rows = shuffle_trials(rows, self.trials, generator)
        with self._inference():
            pieces = [self._draw(piece, generator) for piece in rows.split(ROWS)]
        drawn = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
        bad = int((~torch.cat(list(drawn.values()), dim=1).isfinite()).any(dim=1).sum())
        if bad:
            raise InnflowError(
                f"posterior: {bad} of {len(rows)} samples are not finite: the data are too far "
                "from every simulation"
            )
        batch = [] if alone else [len(observed)]
        return {name: draws.reshape(*batch, n, draws.shape[1]) for name, draws in drawn.items()}

    def _draw(self, y: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the left parts for each row of standardised data (B, M)."""
        targets = {"y": y}
        right = self._sample_right(len(y), generator, targets)
        left = self.partition.split("left", self.invert(right, targets))
        return {**left, "x": self.x_units.inverse(left["x"])}

    def log_prob(self, x: Any, y: Any) -> Tensor:
        """Return log p(x | y) of x (B, P) and y (B, M), (B,) in nats, in data units.

        Of an integer parameter it is the log probability. With padding on the left, p(x | y) is
        an integral, estimated by importance sampling of the padding: its logarithm is biased low.

        Raises:
            InnflowError: if the data noise eps is on the left.
        """
        if "eps" in self.partition.left:
            raise InnflowError(
                f"log_prob: p(x | y) has no closed form with {self.partition}: "
                "use partition=given_y"
            )
        with self._inference():
            values = self._vectors("x", x, self.shape[0])
            coordinates, volume = self.x_units(values, None)
            trials = self._standardize(y).unflatten(1, (self.trials, -1))
            orders = [{"y": trials[:, order].flatten(1)} for order in trial_orders(self.trials)]
            if PAD not in self.partition.left:
                log_probs = [self({"x": coordinates}, given).log_prob for given in orders]
            else:
                log_probs = self._padded_log_probs({"x": coordinates}, orders[0])
            return torch.stack(log_probs).logsumexp(dim=0) - math.log(len(log_probs)) + volume

    def encode(self, x: Tensor, y: Tensor, eps: Tensor | None = None) -> Tensor:
        """Return z (B, K) of x (B, P), y (B, M) and, if the partition has it, eps (B, M)."""
        with self._inference():
            parts, given = self._left(x, eps), self._standardize(y)
            padded = self.pad(parts, None)
            if self.carries:
                padded = self._spread(padded, self._padding(parts, given))
            return self(padded, {"y": given}).latents["z"]

    def predict(self, x: Tensor, eps: Tensor | None = None) -> Tensor:
        """Return the predicted data y_hat (B, M), standardised, of parameters x (B, P).

        Raises:
            InnflowError: if y is context, as no forward map is learned then.
        """
        if self.conditional:
            raise InnflowError("predict: no forward map is learned: use partition=x_yz")
        with self._inference():
            return self._forward_map(self._left(x, eps))

    def misspecification_p(self, y: Any) -> Tensor:
        """Return the p-values (B,) of `MisspecificationTest` of data (M,) or (B, M)."""
        with self._inference():
            return self.misspecification(self._standardize(y), self.summarize)

    def _left(self, x: Tensor, eps: Tensor | None) -> dict[str, Tensor]:
        batch = {"x": self._vectors("x", x, self.shape[0])}
        if "eps" in self.partition.left:
            if eps is None:
                raise InnflowError(f"{self.partition} has the data noise eps: give eps")
            batch["eps"] = self._vectors("eps", eps, len(self.y_units.mean))
        return self.preprocess(batch, None)

    def _standardize(self, y: Any) -> Tensor:
        """Return data standardised, (B, M); raise if they are not valid."""
        return self._observations(y)[0]

    def _observations(self, y: Any) -> tuple[Tensor, bool]:
        """Return data standardised, (B, M), and whether y is a single observation."""
        columns, rest = len(self.y_units.mean), list(self.y_shape[1:])
        alone = np.ndim(y) == 1
        if rest and np.ndim(y) > 1:
            values = to_tensor(y, "y")
            axes = values.ndim - len(rest)  # the first axis of one y is the last of them
            if axes in (1, 2) and list(values.shape[axes:]) == rest:
                absent = self.y_shape[0] - values.shape[axes - 1]
                if absent > 0 and self.accepts_missing:  # a set of fewer items
                    pads = values.new_full((*values.shape[: axes - 1], absent, *rest), torch.nan)
                    values, absent = torch.cat((values, pads), dim=axes - 1), 0
                if absent == 0:
                    alone = axes == 1
                    y = values.reshape(1 if alone else len(values), -1)
        return self.y_units(self._vectors("y", y, columns, self.accepts_missing)), alone

    def step_metrics(self, stage: str, step: Step) -> dict[str, Tensor]:
        """Return the mean squared error of the predicted data, where y is a right part."""
        if self.conditional:
            return {}
        error = (step.latents["y"] - step.targets["y"]).square().mean()
        return {f"{stage}/fit_mse": error}
