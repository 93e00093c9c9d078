"""FlowModule, the one LightningModule: the pass from left to right and the training around it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from innflow.app.compiler import compile_or_say
from innflow.app.schedule import Schedule, constant, progress
from innflow.app.sharding import divide_again
from innflow.errors import InnflowError
from innflow.flow import CouplingFlow
from innflow.latent.density import Latent, StandardNormal
from innflow.objective.base import Objective, Step
from innflow.partition import PAD, Partition
from innflow.system.ranks import shared_draws

OptimizerMaker = Callable[[Iterable[nn.Parameter]], Optimizer]
GENERAL = "general"
"""Part of a training batch: items of a general set, to be told from the inliers."""
FORMAT = 2
"""Version of what innflow adds to a checkpoint; files of another version are refused."""


class FlowModule(pl.LightningModule):
    """A flow, the names of its parts, their densities, and what is minimised.

    It trains; `Application` answers questions, and what differs between applications is how data
    become left parts, `preprocess`, and what is known of the right, `targets`.

    Args:
        flow: the bijection.
        partition: names and shapes of the parts; [x] <-> [z] by default.
        latent: a density for each right part; standard normal z by default.
        objective: terms and weights; maximum likelihood by default.
        optimizer: called with the parameters.
        schedule: factor on the learning rate over the progress of the run.

    Attributes:
        compiled: train with a compiled flow, where a compiler is found.
    """

    def __init__(
        self,
        flow: CouplingFlow,
        partition: Partition | None = None,
        latent: Latent | None = None,
        objective: Objective | None = None,
        optimizer: OptimizerMaker = torch.optim.Adam,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.partition = partition or Partition({"x": flow.shape}, {"z": (flow.features,)})
        if self.partition.shape != flow.shape:
            raise InnflowError(
                f"the flow is built for {flow.shape}, the partition's left has the shape "
                f"{self.partition.shape}: {self.partition}"
            )
        self.latent = latent or Latent({"z": StandardNormal()})
        self.latent.check(self.partition.right)
        self.objective = objective or Objective()
        self.compiled = False
        self.make_optimizer = optimizer
        self.schedule = schedule or constant()
        # Filled by whoever assembles the application; they go into its checkpoints.
        self.config: dict[str, Any] = {}
        self.shapes: dict[str, list[int]] = {}
        self.columns: dict[str, list[str]] = {}
        # Frozen, and no part of the state: a plain dict keeps them out of it.
        self.companions: dict[str, FlowModule] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the part x, without the batch."""
        return self.partition.left["x"]

    @property
    def dims(self) -> int:
        """Number of dimensions of the part x."""
        return math.prod(self.shape)

    @property
    def parameter_dtype(self) -> torch.dtype:
        """Precision of the flow itself, whatever the coupling networks run in."""
        return next(self.flow.parameters()).dtype

    @property
    def lr(self) -> float:
        """Learning rate at its highest; set it before training, or let a finder do so."""
        return float(self.make_optimizer([nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        make: Callable[..., Optimizer] = self.make_optimizer
        self.make_optimizer = partial(make, lr=value)
        if self._trainer is not None:
            for config in self.trainer.lr_scheduler_configs:
                config.scheduler.base_lrs = [value] * len(config.scheduler.base_lrs)

    @property
    def log_volume(self) -> float:
        """Log of the factor by which `preprocess` shrinks volumes, in nats."""
        return 0.0

    @property
    def aligned(self) -> bool:
        """Whether the first right part has values as targets."""
        return False

    @abstractmethod
    def preprocess(
        self, batch: Mapping[str, Tensor], noise: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return the left parts of a batch; with no noise source, the repeatable ones."""

    def targets(
        self, batch: Mapping[str, Tensor], noise: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return what a batch knows of the right parts and of the context."""
        return {}

    def forward(
        self, parts: Mapping[str, Tensor], targets: Mapping[str, Tensor] | None = None
    ) -> Step:
        """Take left parts to the right and give their exact log-likelihood.

        Where the left is padded, that is the evidence lower bound log p(x, pad) - log q(pad).
        """
        targets = targets or {}
        context = self.partition.join_context(targets)
        latent, logabsdet = self.flow(self.partition.join("left", parts), context)
        latents = self.partition.split("right", latent)
        log_prob = self.likelihood(latents, targets) + logabsdet - self.log_volume
        if PAD in self.partition.left:
            log_prob = log_prob - self.latent[PAD].log_prob(parts[PAD].flatten(1))

        def invert(right: Mapping[str, Tensor]) -> dict[str, Tensor]:
            joined, _ = self.flow.inverse(self.partition.join("right", right), context)
            return self.partition.split("left", joined)

        return Step(
            parts=parts,
            latents=latents,
            logabsdet=logabsdet,
            log_prob=log_prob,
            targets=targets,
            latent=self.latent,
            invert=invert,
        )

    def likelihood(self, latents: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Return log p of right parts, (B,) in nats, given what is known of them."""
        return self.latent.log_prob(latents, targets)

    def padded(
        self, parts: Mapping[str, Tensor], noise: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Add the padding of the left, where there is one: small noise, the same without a source.

        Padding of exact zeros would let the flow put any scale on it.
        """
        if PAD not in self.partition.left:
            return dict(parts)
        x = parts["x"]
        empty = x.new_empty(len(x), *self.partition.left[PAD])
        source = torch.Generator().manual_seed(0) if noise is None else noise
        return {**parts, PAD: self.latent[PAD].sample(empty, 1.0, source)}

    def compute_step(self, batch: Mapping[str, Tensor], noise: torch.Generator | None) -> Step:
        """Take a batch of data from left to right."""
        with self.shared_draws() if noise is not None else nullcontext():
            parts = self.padded(self.preprocess(batch, noise), noise)
            known = self.targets(batch, noise)
        return self(parts, known)

    def shared_draws(self) -> AbstractContextManager[None]:
        """Return a block in which each rank draws its part of the noise of the whole batch."""
        ranks = 1 if self._trainer is None else self.trainer.world_size
        return shared_draws(self.global_rank, ranks)

    def compared(self, step: Step) -> Step:
        """Let terms ask the companions about the very same left parts, noise included."""

        def ask(other: FlowModule) -> Tensor:
            with torch.no_grad():
                return other(step.parts).log_prob

        companions = {name: partial(ask, other) for name, other in self.companions.items()}
        return replace(step, companions=companions)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Return the objective of one batch and log its terms."""
        done = progress(self.trainer, self.trainer.estimated_stepping_batches)
        self.latent.advance(done)
        noise = torch.default_generator
        step = replace(self.compared(self.compute_step(batch, noise)), progress=done)
        if GENERAL in batch:
            outliers = self.compute_step({**batch, "x": batch[GENERAL]}, noise)
            step = replace(step, outliers=self.compared(outliers))
        loss, terms = self.objective(step, self.dims)
        size = len(step.log_prob)
        named = {f"train/{name}": value.detach() for name, value in terms.items()}
        self.log_dict({"train/loss": loss.detach(), **named}, batch_size=size)
        self.log_dict(self._likelihood("train", step), prog_bar=True, batch_size=size)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Log the likelihood of held-out training data, without noise and in full precision."""
        with torch.autocast(self.device.type, enabled=False):
            step = replace(self.compute_step(batch, noise=None), training=False)
            loss, _ = self.objective(step, self.dims)
        # Lightning takes the mean of these numbers over the ranks, as a whole number.
        size = len(step.log_prob) * self.trainer.world_size
        nll = -step.log_prob.mean()
        values = {"val/nll": nll, "val/loss": loss, **self._likelihood("val", step)}
        self.log_dict(values, prog_bar=True, batch_size=size, sync_dist=True)

    def _likelihood(self, stage: str, step: Step) -> dict[str, Tensor]:
        """Return the likelihood in the unit that the data call for, to stand on the bar."""
        return {}

    def on_train_start(self) -> None:
        """Let every ActNorm see one batch, unless a resumed run has brought its values."""
        for companion in self.companions.values():
            companion.to(self.device).eval().requires_grad_(False)
        if self.trainer.global_step == 0:  # a resumed run must draw nothing here
            self.initialise()
            divide_again(self)
        if self.compiled:
            compile_or_say(self.flow, self.device)

    def initialise(self) -> None:
        """Show a first batch to the layers that take their starting values from data."""
        loader: Any = self.trainer.train_dataloader
        batch = self.trainer.strategy.batch_to_device(self.first_batch(loader))
        self.latent.advance(0.0)
        noise = torch.default_generator
        with torch.autocast(self.device.type, enabled=False):
            with self.shared_draws():
                parts = self.padded(self.preprocess(batch, noise), noise)
                known = self.targets(batch, noise)
            context = self.partition.join_context(known)
            first = next(iter(self.partition.right))
            aims = known.get(first) if self.aligned else None
            self.flow.initialise(self.partition.join("left", parts), context, aims)

    def on_train_end(self) -> None:
        """Leave a flow that takes batches of any size without another compilation."""
        self.flow.uncompile()

    def first_batch(self, loader: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the data from which layers initialise themselves."""
        return next(iter(loader))

    def configure_optimizers(self) -> Any:
        """Make the optimizer and a schedule that follows the progress of the run."""
        optimizer = self.make_optimizer(self.parameters())
        steps = self.trainer.estimated_stepping_batches
        scheduler = LambdaLR(optimizer, lambda _: self.schedule(progress(self.trainer, steps)))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the config, so that a checkpoint needs no file besides itself."""
        checkpoint["innflow"] = {
            "format": FORMAT,
            "config": self.config,
            "shapes": self.shapes,
            "columns": self.columns,
        }

    def __repr__(self) -> str:
        """Say what the application is, in four lines."""
        return (
            f"{type(self).__name__}: {self.partition}\n  {self.flow!r}\n"
            f"  minimises {self.objective.extra_repr()}"
        )
