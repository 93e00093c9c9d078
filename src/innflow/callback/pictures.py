"""Pictures of the training: what the flow draws, sent to dashboards as it learns."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from innflow.app import Application, Inverse, Unconditional
from innflow.dashboard import Picture, send, shows_pictures
from innflow.errors import InnflowError
from innflow.figure.latent_plane import plot_latent
from innflow.figure.posterior.pairs import MOST_PAIRS, plot_pairs
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.style import DPI, ROLES

log = logging.getLogger(__name__)

TEMPERATURES = (1.0, 0.7)
POINTS = 1000
COLORS = {
    "held out": ROLES["inlier"],
    "samples": ROLES["sample"],
    "standard normal": ROLES["train"],
}


class Pictures(pl.Callback):
    """Draw samples, the latent cloud of points in the plane, or a posterior, after a validation.

    The keys are `pictures/samples`, `pictures/latent` and `pictures/posterior`. The noise is the
    same at every step, and training draws no other random numbers than without. Vectors of more
    than two dimensions are left undrawn, and so are posteriors of more than eight.

    Args:
        every: validations from one drawing to the next.
        n: images in a row; one row at temperature 1, one at 0.7.
    """

    def __init__(self, every: int = 1, n: int = 16) -> None:
        for key, value in {"every": every, "n": n}.items():
            if value < 1:
                raise InnflowError(f"callbacks.pictures.{key}={value}: takes at least 1")
        self.every = every
        self.n = n
        self.seen = 0
        self._held_out: Mapping[str, Tensor] | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse to draw for nobody."""
        if trainer.is_global_zero and not shows_pictures(trainer.loggers):
            raise InnflowError(
                "callbacks.pictures: there is no dashboard to send pictures to; takes "
                "logger=wandb, tensorboard, mlflow or many"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.seen = state_dict["seen"]

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first batch: a pass over the loader of our own would draw random numbers."""
        if batch_idx == 0:
            self._held_out = {name: batch[name][:POINTS] for name in ("x", "y") if name in batch}

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, on every rank, for a flow in shards needs them all; the first rank sends."""
        held_out, self._held_out = self._held_out, None
        if trainer.sanity_checking or held_out is None or not isinstance(pl_module, Application):
            return
        self.seen += 1
        if (self.seen - 1) % self.every:
            return
        try:
            figures = self._draw(pl_module, held_out)
        except InnflowError as error:
            # An early flow may draw what is not finite; the guard judges the training itself.
            log.warning("pictures: none at step %d: %s", trainer.global_step, error)
            return
        if trainer.is_global_zero:
            send(trainer.loggers, figures, step=trainer.global_step)

    def _draw(self, app: Application, held_out: Mapping[str, Tensor]) -> dict[str, Picture]:
        x = held_out["x"]
        if isinstance(app, Inverse):
            return _posterior(app, x[0], held_out["y"][0])
        if not isinstance(app, Unconditional):
            return {}
        if len(app.shape) == 3 and x.dtype == torch.uint8:
            return _images(app, self.n)
        return _plane(app, x) if tuple(app.shape) == (2,) else {}


def _images(app: Unconditional, n: int) -> dict[str, Picture]:
    stretch = 255 / (getattr(app.units, "levels", 256) - 1)
    drawn = [app.sample(n, t, seed=0).float().mul(stretch) for t in TEMPERATURES]
    rows = [images.round().to(torch.uint8).cpu().numpy() for images in drawn]
    caption = "Samples, not selected; a column has the same noise at every temperature T."
    figure = plot_image_rows(rows, [f"T = {t:g}" for t in TEMPERATURES])
    return {"pictures/samples": _picture(figure, caption)}


def _plane(app: Unconditional, x: Tensor) -> dict[str, Picture]:
    drawn, latent = _finite(app.sample(POINTS, seed=0)), _finite(app.encode(x))
    normal = np.random.default_rng(0).standard_normal((POINTS, latent.shape[1]))
    points = {"held out": x.cpu().numpy(), "samples": drawn}
    clouds = {"standard normal": normal[:, :2], "held out": latent[:, :2]}
    return {
        "pictures/samples": _picture(
            plot_latent(points, COLORS, ("x0", "x1")),
            "Held-out data, and samples at temperature 1.",
        ),
        "pictures/latent": _picture(
            plot_latent(clouds, COLORS, ("z0", "z1")),
            "Latent vectors of held-out data over draws of the standard normal.",
        ),
    }


def _posterior(app: Inverse, x: Tensor, y: Tensor) -> dict[str, Picture]:
    if len(x) > MOST_PAIRS:
        return {}
    names = app.columns.get("x") or [f"x{index}" for index in range(len(x))]
    draws = _finite(app.posterior(y, POINTS, seed=0))
    figure = plot_pairs(draws, names, truth=x.cpu().numpy())
    caption = "Posterior draws at the first held-out observation, with its true parameters."
    return {"pictures/posterior": _picture(figure, caption)}


def _finite(values: Tensor) -> np.ndarray:
    array = values.cpu().numpy()
    if not np.isfinite(array).all():
        raise InnflowError("what the flow draws is not finite")
    return array


def _picture(figure: Figure, caption: str) -> Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return Picture(buffer.getvalue(), caption)
