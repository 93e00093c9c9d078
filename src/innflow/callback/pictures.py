"""Figures of samples, latent vectors or posteriors during training, for dashboards."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from innflow.app import Application, Inverse, Unconditional
from innflow.dashboard import Picture, send, shows_pictures
from innflow.errors import InnflowError
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.latent_plane import plot_latent
from innflow.figure.posterior.pairs import MOST_PAIRS, plot_pairs
from innflow.figure.style import ROLES, to_png

log = logging.getLogger(__name__)

TEMPERATURES = (1.0, 0.7)
POINTS = 1000
ROLE_OF = {"validation": "inlier", "samples": "sample", "standard normal": "train"}
COLORS = {name: ROLES[role] for name, role in ROLE_OF.items()}


class Pictures(Callback):
    """Send figures of the flow to the dashboards after a validation.

    `pictures/samples` shows images or points in the plane, `pictures/latent` the latent vectors of
    points in the plane, `pictures/posterior` a posterior of up to eight parameters; there is no
    figure of other flows. The noise is the same at every step, and the random numbers of training
    are the same as without this callback.

    Args:
        every: validations between two figures.
        n: images in a row; one row at temperature 1, one at 0.7.

    Raises:
        InnflowError: if an argument is below 1, or no logger can show figures.

    >>> Pictures(every=5).state_dict()
    {'seen': 0}
    """

    def __init__(self, every: int = 1, n: int = 16) -> None:
        for key, value in {"every": every, "n": n}.items():
            if value < 1:
                raise InnflowError(f"callbacks.pictures.{key}={value}: must be at least 1")
        self.every, self.n = every, n
        self.seen = 0
        self._batch: Mapping[str, Tensor] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse loggers of which none can show figures."""
        if trainer.is_global_zero and not shows_pictures(trainer.loggers):
            raise InnflowError(
                "callbacks.pictures: there is no dashboard to send pictures to; give "
                "logger=wandb, tensorboard, mlflow or many"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the number of validations so far."""
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of validations."""
        self.seen = state_dict["seen"]

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first batch: another pass over the loader would draw random numbers."""
        if batch_idx == 0:
            self._batch = {name: batch[name][:POINTS] for name in ("x", "y") if name in batch}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw on all ranks, as a sharded flow needs them, and send from rank 0."""
        batch, self._batch = self._batch, None
        if trainer.sanity_checking or batch is None or not isinstance(pl_module, Application):
            return
        self.seen += 1
        if (self.seen - 1) % self.every:
            return
        try:
            figures = _draw(pl_module, batch, self.n)
        except InnflowError as error:
            # Samples of an untrained flow may overflow without a fault in training.
            log.warning("pictures: skipped at step %d: %s", trainer.global_step, error)
            return
        if trainer.is_global_zero:
            send(trainer.loggers, figures, step=trainer.global_step)


def _draw(app: Application, batch: Mapping[str, Tensor], n: int) -> dict[str, Picture]:
    x = batch["x"]
    if isinstance(app, Inverse):
        return _draw_posterior(app, x[0], batch["y"][0])
    if isinstance(app, Unconditional) and len(app.shape) == 3 and x.dtype == torch.uint8:
        return _draw_images(app, n)
    if isinstance(app, Unconditional) and tuple(app.shape) == (2,):
        return _draw_plane(app, x)
    return {}


def _draw_images(app: Unconditional, n: int) -> dict[str, Picture]:
    stretch = 255 / (app.preprocessing.levels - 1)
    drawn = [app.sample(n, t, seed=0).float().mul(stretch) for t in TEMPERATURES]
    rows = [images.round().to(torch.uint8).cpu().numpy() for images in drawn]
    caption = "Samples, not selected; a column has the same noise at every temperature T."
    figure = plot_image_rows(rows, [f"T = {t:g}" for t in TEMPERATURES])
    return {"pictures/samples": Picture(to_png(figure), caption)}


def _draw_plane(app: Unconditional, x: Tensor) -> dict[str, Picture]:
    drawn, latent = _to_finite(app.sample(POINTS, seed=0)), _to_finite(app.encode(x))
    normal = np.random.default_rng(0).standard_normal((POINTS, latent.shape[1]))
    points = {"validation": x.cpu().numpy(), "samples": drawn}
    clouds = {"standard normal": normal[:, :2], "validation": latent[:, :2]}
    samples = to_png(plot_latent(points, COLORS, ("x0", "x1")))
    latents = to_png(plot_latent(clouds, COLORS, ("z0", "z1")))
    about = "Latent vectors of validation data over draws of the standard normal."
    return {
        "pictures/samples": Picture(samples, "Validation data, and samples at temperature 1."),
        "pictures/latent": Picture(latents, about),
    }


def _draw_posterior(app: Inverse, x: Tensor, y: Tensor) -> dict[str, Picture]:
    if len(x) > MOST_PAIRS:
        return {}
    names = app.columns.get("x") or [f"x{index}" for index in range(len(x))]
    draws = _to_finite(app.posterior(y, POINTS, seed=0))
    figure = plot_pairs(draws, names, truth=x.cpu().numpy())
    caption = "Posterior draws at the first validation observation, with its true parameters."
    return {"pictures/posterior": Picture(to_png(figure), caption)}


def _to_finite(values: Tensor) -> np.ndarray:
    if not values.isfinite().all():
        raise InnflowError("a sample or latent vector is not finite")
    return values.cpu().numpy()
