"""Padding that carries noise of y, for flows [x, pad] <-> [y, z]."""

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import Normal

from innflow.app.application import Application
from innflow.app.module import PAD_SEED, Noise
from innflow.app.posterior.coordinates import Standardized
from innflow.flow.initialise import all_reduced
from innflow.latent import density
from innflow.latent.density import Observed
from innflow.objective.base import Parts, Step
from innflow.partition import PAD
from innflow.system.ranks import seeded_generator

PADDINGS = 4
"""Draws of the padding over which a density is averaged."""
CARRIED = 0.9
"""Share of the variance of the noise of y that padding of the size of y carries."""


class NoisePadding(Application):
    """Base of applications in which padding of the size of y carries noise of y.

    The noise of y is the sum of two independent parts, of which the padding is the first. The flow
    maps [x, pad] to [y_hat, z], y_hat = f(x) + pad, and the density of y around y_hat has the width
    of the second part and of the error of f. If padding were drawn independently of y, the
    likelihood would be largest for a flow that ignores it, and draws would be too narrow.
    """

    y_units: Standardized

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._squares: list[Tensor] = []  # of the errors of y in the batches of a validation
        if self.carries:
            self.observed.share = 1 - CARRIED

    @property
    def carries(self) -> bool:
        """Whether padding on the left carries noise of y."""
        left, right = self.partition.left, self.partition.right
        return PAD in left and left[PAD] == right.get("y")

    @property
    def observed(self) -> Observed:
        """Density of y."""
        return cast(Observed, self.latent["y"])

    def prepare_batch(
        self, batch: Parts, noise: Noise
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Prepare as all applications do; then let padding carry noise of y, if it is so."""
        left, right = super().prepare_batch(batch, noise)
        if not self.carries:
            return left, right
        widths = self.observed.noise
        if self.observed.matched:
            eps = batch["eps"].to(widths) * widths
        else:
            eps = right["y"] - self.y_units(batch["y"].to(widths))
        given = Normal(CARRIED * eps, math.sqrt(CARRIED * (1 - CARRIED)) * widths)
        return self._spread(left, given), right

    def _spread(self, left: Parts, padding: Normal) -> dict[str, Tensor]:
        """Let the padding, drawn from its own density, have another distribution."""
        free = left[PAD] / cast(density.Normal, self.latent[PAD]).width
        return {**left, PAD: padding.mean + padding.stddev * free}

    def pad_log_prob(self, pad: Tensor) -> Tensor:
        """Return log q (B,) of the padding.

        For padding that carries noise, q is its distribution given x and y. This returns log q of
        the padding alone plus the mean difference of the two, which is the same for all x and y.
        """
        if not self.carries:
            return super().pad_log_prob(pad)
        alone = Normal(0.0, self.observed.noise * math.sqrt(CARRIED))
        return alone.log_prob(pad).sum(dim=1) - 0.5 * pad.shape[1] * math.log(1 - CARRIED)

    def _padded_log_probs(self, parts: Parts, given: Parts) -> list[Tensor]:
        """Return log p(x, pad | y) - log q(pad), (B,), of several draws of the padding."""
        generator, log_probs = seeded_generator(PAD_SEED), []
        padding = self._padding(parts, given["y"]) if self.carries else None
        for _ in range(PADDINGS):
            padded = self.pad(parts, generator)
            log_ratio = torch.zeros(())
            if padding is not None:
                padded = self._spread(padded, padding)
                log_q = padding.log_prob(padded[PAD]).sum(dim=1)
                log_ratio = self.pad_log_prob(padded[PAD]) - log_q
            log_probs.append(self(padded, given).log_prob + log_ratio)
        return log_probs

    def _padding(self, parts: Parts, y: Tensor) -> Normal:
        """Return the distribution of padding that carries noise, (B, M), given x and y (B, M).

        y is the sum of the forward map, the padding and the deviation that its density allows.
        """
        own, rest = CARRIED * self.observed.noise.square(), self.observed.widths(y).square()
        gain = own / (own + rest)
        return Normal(gain * (y - self._forward_map(parts)), (gain * rest).sqrt())

    def _forward_map(self, parts: Parts) -> Tensor:
        """Return y_hat (B, M) of left parts, for padding of 0."""
        left = self.partition.left
        zeros = {PAD: parts["x"].new_zeros(len(parts["x"]), *left[PAD])} if PAD in left else {}
        latent, _ = self.flow(self.partition.join("left", {**parts, **zeros}))
        return self.partition.split("right", latent)["y"]

    def on_validated(self, step: Step) -> None:
        """Collect the squared errors of y where padding carries its noise."""
        if self.carries:
            self._squares.append((step.latents["y"] - step.targets["y"]).square())

    def on_validation_epoch_end(self) -> None:
        """Fit the density of y to these errors, those of the surrogate included."""
        if not self.carries:
            return
        squares = torch.cat(self._squares).double()
        self._squares.clear()
        sums = all_reduced(torch.cat((squares.sum(dim=0), squares.new_tensor([len(squares)]))))
        self.observed.fitted = (sums[:-1] / sums[-1]).sqrt().tolist()
