"""Inverse: parameters to data and a latent, and posteriors by the way back. Applications 5 to 7."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from innflow.app.application import Application
from innflow.app.coordinates import Bounded, Standardized, Unconstrained
from innflow.app.misspecification import MisspecificationTest
from innflow.app.trials import orders, shuffle_trials
from innflow.errors import InnflowError
from innflow.latent.density import Observed
from innflow.objective.base import Step
from innflow.system.progress import announce

log = logging.getLogger(__name__)

ROWS = 10_000
"""Posterior draws that go through the flow at a time."""
START_ROWS = 20_000
"""Simulations from which data-dependent layers take their starting values."""
DETERMINISTIC_WIDTH = 0.01
"""Width of y, in its standard deviations, where a simulator has no noise of its own."""


class Inverse(Application):
    """The posterior p(x | y) of parameters x given data y.

    Three ways to train, one by its partition and two by their objective:

    - conditional, [x] <-> [z] given y: y is the context of every coupling. Minimises
      -log p(x | y), which is all that is needed; no forward map is learned. Data of any size.
    - ml, [x] <-> [y, z] or [x, eps] <-> [y, z]: maximum likelihood with a width s on y, that is
      |z|^2/2 + |y_hat - y|^2/(2 s^2) - log|det|. The way forward is a surrogate of the simulator.
      With the data noise eps among the inputs the map is exact, and eps is recovered with x.
    - mmd, the same partitions: see `innflow.objective.bidirectional`.

    Parameters are taken to unconstrained coordinates and back, data are standardised, whole
    numbers dequantized and short sides padded here, so that x and y are in the user's units
    everywhere and posterior samples lie in the prior's support.

    Args:
        args: as for `FlowModule`.
        bounded: map of an interval to the real line: probit or logit.
        trials: number of independent trials under the same parameters that stand in y one after the
            other. Their order says nothing: training shuffles it, and the posterior is the mean of
            those of all orders.
        kwargs: as for `FlowModule`.
    """

    def __init__(
        self, *args: Any, bounded: Bounded = "probit", trials: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        right, context = self.partition.right, self.partition.context
        if "x" not in self.partition.left or ("y" in right) == ("y" in context):
            raise InnflowError(
                "Inverse: takes x <-> z given y, x <-> y, z or x, eps <-> y, z, not "
                f"{self.partition}"
            )
        self.x_units = Unconstrained(self.shape[0], bounded)
        self.y_units = Standardized((context if self.conditional else right)["y"][0])
        self.familiar = MisspecificationTest()
        self.trials = trials
        columns = len(self.y_units.mean)
        if trials < 1 or columns % trials:
            raise InnflowError(
                f"app.trials={trials}: the {columns} columns of y are not so many of equal length"
            )
        if trials > 1 and not self.conditional:
            raise InnflowError(
                f"app.trials={trials}: takes partition=given_y, not {self.partition}"
            )

    @property
    def conditional(self) -> bool:
        """Whether y is context, and not a part of the right."""
        return "y" in self.partition.context

    @property
    def width(self) -> float:
        """Width of y now, in its standard deviations."""
        return cast(Observed, self.latent["y"]).width if "y" in self.latent else 0.0

    @property
    def aligned(self) -> bool:
        """Whether the first right part is y."""
        return next(iter(self.partition.right)) == "y"

    def setup(self, stage: str) -> None:
        """Fit the units to the training simulations, once."""
        if stage == "fit" and not len(self.familiar.distances):
            self.fit_units(cast(Any, self.trainer).datamodule)

    def fit_units(self, data: Any) -> None:
        """Take support, centre and width of the parameters and of the data from a data module."""
        parts = data.sets()["train"].parts
        self.x_units.fit(parts["x"], data.support)
        if self.trials == 1:
            self.y_units.fit(parts["y"])
        else:  # one unit for all trials, or shuffled ones would not fit theirs
            each = Standardized(len(self.y_units.mean) // self.trials)
            each.fit(parts["y"].reshape(-1, len(each.mean)))
            known = {name: value.repeat(self.trials) for name, value in each.state_dict().items()}
            self.y_units.load_state_dict(known)
        order = torch.randperm(len(parts["y"]), generator=torch.Generator().manual_seed(0))
        self.familiar.fit(self.y_units(parts["y"][order[:ROWS]]))
        self._settle_width(data.deterministic)

    def _settle_width(self, deterministic: bool) -> None:
        observed = cast(Observed, self.latent["y"]) if "y" in self.latent else None
        if observed is None or observed.sigma is not None:
            return
        observed.sigma = DETERMINISTIC_WIDTH if deterministic or not self.conditional else 0.0
        if deterministic:
            announce(
                "the forward model has no noise, so p(x | y) has no density: training gives y a "
                f"width of {DETERMINISTIC_WIDTH} of its standard deviation (latent.y.sigma)"
            )

    def preprocess(
        self, batch: Mapping[str, Tensor], noise: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Take parameters to unconstrained coordinates, and the noise vector as it is."""
        x, _ = self.x_units(batch["x"].to(self.parameter_dtype), noise)
        if "eps" not in self.partition.left:
            return {"x": x}
        return {"x": x, "eps": batch["eps"].to(x)}

    def targets(
        self, batch: Mapping[str, Tensor], noise: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Standardise the data and give them their width, with the same noise without a source."""
        y = self.y_units(batch["y"].to(self.parameter_dtype))
        if self.trials > 1 and noise is not None:
            y = shuffle_trials(y, self.trials, noise)
        if self.width > 0:
            source = torch.Generator().manual_seed(0) if noise is None else noise
            y = y + self.width * torch.randn(y.shape, generator=source, dtype=y.dtype).to(y)
        return {"y": y}

    def first_batch(self, loader: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return as many simulations as a regression needs, from several batches."""
        batches: list[dict[str, Tensor]] = []
        for batch in loader:
            batches.append(batch)
            if len(batches) * len(batch["x"]) * self.trainer.world_size >= START_ROWS:
                break
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}

    def posterior(self, y: ArrayLike, n: int = 1000, seed: int | None = None) -> Tensor:
        """Draw from p(x | y), (n, P) for y (M,) or (B, n, P) for y (B, M), in data units.

        Args:
            y: observed data, in data units; a tensor, an array or a list.
            n: draws for each observation.
            seed: of the draw; torch's global generator without.

        Raises:
            InnflowError: if y has another number of columns or values that are not finite, or a
                draw is not finite.
        """
        return self._posterior(torch.as_tensor(y), n, seed)["x"]

    def posterior_noise(self, y: ArrayLike, n: int = 1000, seed: int | None = None) -> Tensor:
        """Return the noise eps of the same draws as `posterior`, (n, M) or (B, n, M).

        Raises:
            InnflowError: where the partition has no noise; and as `posterior`.
        """
        if "eps" not in self.partition.left:
            raise InnflowError(f"posterior_noise: there is no eps in {self.partition}")
        return self._posterior(torch.as_tensor(y), n, seed)["eps"]

    def _posterior(self, y: Tensor, n: int, seed: int | None) -> dict[str, Tensor]:
        if n < 1:
            raise InnflowError(f"posterior: n={n}: takes at least 1")
        observed = self._data(y)
        generator = torch.default_generator
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
        rows = observed.repeat_interleave(n, dim=0)
        if self.trials > 1:
            rows = shuffle_trials(rows, self.trials, generator)
        with self._asked():
            pieces = [self._draw(piece, generator) for piece in rows.split(ROWS)]
        drawn = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
        bad = int((~torch.cat(list(drawn.values()), dim=1).isfinite()).any(dim=1).sum())
        if bad:
            raise InnflowError(
                f"posterior: {bad} of {len(rows)} draws are not finite; the data lie too far from "
                "anything simulated"
            )
        return {
            name: values.reshape(*y.shape[:-1], n, values.shape[1])
            for name, values in drawn.items()
        }

    def _draw(self, y: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw one set of left parts for each row of data in the flow's unit."""
        empty = y.new_empty(len(y), self.partition.features)
        given = {"y": y}
        parts = self.latent.sample(
            self.partition.split("right", empty), generator=generator, targets=given
        )
        context = self.partition.join_context(given)
        joined, _ = self.flow.inverse(self.partition.join("right", parts), context)
        left = self.partition.split("left", joined)
        return {**left, "x": self.x_units.inverse(left["x"])}

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log p(x | y), (B,) nats in the units of x; of the bin for whole numbers.

        Raises:
            InnflowError: where the partition has noise or padding beside x: the density of x alone
                is then an integral.
        """
        if set(self.partition.left) != {"x"}:
            raise InnflowError(
                f"log_prob: p(x | y) has no closed form with {self.partition}: "
                "partition=given_y has one"
            )
        with self._asked():
            data = {"x": self._take("x", x), "y": self._data(y)}
            coordinates, volume = self.x_units(data["x"].to(self.parameter_dtype), None)
            if self.trials == 1:
                return self({"x": coordinates}, {"y": data["y"]}).log_prob + volume
            apart = data["y"].unflatten(1, (self.trials, -1))
            found = [
                self({"x": coordinates}, {"y": apart[:, order].flatten(1)}).log_prob
                for order in orders(self.trials)
            ]
            return torch.stack(found).logsumexp(dim=0) - math.log(len(found)) + volume

    def encode(self, x: Tensor, y: Tensor, eps: Tensor | None = None) -> Tensor:
        """Return z (B, K) of parameters and data; `eps` where the partition has it."""
        with self._asked():
            return self._pass(x, y, eps).latents["z"]

    def predict(self, x: Tensor, eps: Tensor | None = None) -> Tensor:
        """Return y_hat (B, M) in standard deviations of y: the surrogate of the simulator."""
        if self.conditional:
            raise InnflowError(
                "predict: a conditional flow learns no way forward; partition=x_yz does"
            )
        with self._asked():
            blank = self.y_units.mean.expand(len(x), -1)
            return self._pass(x, blank, eps).latents["y"]

    @property
    def least_familiarity(self) -> float:
        """Smallest p-value that `familiarity` can give."""
        return 1 / (1 + len(self.familiar.distances))

    def familiarity(self, y: Tensor) -> Tensor:
        """Return p-values (B,) of data (M,) or (B, M): small is unlike anything simulated."""
        with self._asked():
            return self.familiar(self._data(y))

    def _pass(self, x: Tensor, y: Tensor, eps: Tensor | None) -> Step:
        batch = {"x": self._take("x", x)}
        if "eps" in self.partition.left:
            if eps is None:
                raise InnflowError("this flow takes the noise eps beside x: give eps")
            batch["eps"] = self._take("eps", eps)
        return self(self.padded(self.preprocess(batch, None), None), {"y": self._data(y)})

    def _data(self, y: Tensor) -> Tensor:
        """Check data in their units, and return them in the flow's unit, (B, M)."""
        columns = len(self.y_units.mean)
        if y.dim() not in (1, 2) or y.shape[-1] != columns:
            raise InnflowError(f"y has shape {tuple(y.shape)}, takes {columns} columns")
        if not bool(y.isfinite().all()):
            raise InnflowError("y has values that are missing or not finite")
        rows = y.reshape(-1, columns).to(self.device, self.parameter_dtype)
        return self.y_units(rows)

    def _likelihood(self, stage: str, step: Step) -> dict[str, Tensor]:
        if self.conditional:
            return {}
        error = (step.latents["y"] - step.targets["y"]).square().mean()
        return {f"{stage}/fit_mse": error}
