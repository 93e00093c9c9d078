"""FlowModule: the LightningModule that trains a flow."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from innflow.app.compiler import compile_flow
from innflow.app.schedule import Schedule, constant, progress
from innflow.app.sharding import scatter_parameters
from innflow.errors import InnflowError
from innflow.flow import CouplingFlow
from innflow.latent.density import Latent, StandardNormal
from innflow.objective.base import Objective, Parts, Step
from innflow.partition import PAD, Partition
from innflow.system.batch import GENERAL
from innflow.system.ranks import Noise, seeded_generator, shared_draws

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
VALIDATION_NOISE = 0
"""Seed of the dequantization noise of validation items, the same at every validation."""
PAD_SEED = 9973
"""Added to the seed of noise for the padding, which must not repeat the same random numbers."""
FORMAT = 2
"""Version of the format of checkpoints; files of another version are refused."""


class FlowModule(pl.LightningModule):
    """LightningModule of a flow: preprocessing, loss, optimizer and contents of checkpoints.

    A subclass implements `preprocess` and, where the batch gives values of right parts or of the
    context, `targets`. `Application` adds inference.

    Args:
        flow: the bijection.
        partition: names and shapes of the parts; [x] <-> [z] by default.
        latent: density of the right side; standard normal z by default.
        objective: terms and weights of the loss; maximum likelihood by default.
        optimizer: called with the parameters.
        schedule: factor on the learning rate as a function of the training progress.

    Attributes:
        compiled: train with a compiled flow, where a compiler works.
        config: config of the run, stored in checkpoints, like `shapes` and `columns`.
        shapes: part name -> shape in the data set.
        columns: part name -> names of the features of vectors; `label` -> names of the classes.
        signature: of the config, by the account that runs the training; stored likewise.
        companions: name -> frozen flow with which the model is compared; not in the state dict.

    Raises:
        InnflowError: if flow, partition and latent do not fit together.

    Example:
        >>> from innflow import flow
        >>> class Vectors(FlowModule):
        ...     def preprocess(self, batch, noise):
        ...         return {"x": batch["x"]}
        >>> app = Vectors(flow.vector(2, depth=2, hidden=(8,)))
        >>> app.compute_step({"x": torch.zeros(5, 2)}, noise=None).log_prob.shape
        torch.Size([5])
    """

    def __init__(
        self,
        flow: CouplingFlow,
        partition: Partition | None = None,
        latent: Latent | None = None,
        objective: Objective | None = None,
        optimizer: OptimizerFactory = torch.optim.Adam,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.partition = partition or Partition({"x": flow.shape}, {"z": (flow.features,)})
        if self.partition.shape != flow.shape:
            raise InnflowError(
                f"the flow is built for {flow.shape}, the left side of the partition has the shape "
                f"{self.partition.shape}: {self.partition}"
            )
        self.latent = latent or Latent({"z": StandardNormal()})
        self.latent.build(self.partition.right)
        self.objective = objective or Objective()
        self.compiled = False
        self.make_optimizer = optimizer
        self.schedule = schedule or constant()
        self.config: dict[str, Any] = {}
        self.shapes: dict[str, list[int]] = {}
        self.columns: dict[str, list[str]] = {}
        self.signature: str | None = None
        # A plain dict, not a ModuleDict, keeps the companions out of the state dict.
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
        """Precision of the flow; autocast in coupling networks does not change it."""
        return next(self.flow.parameters()).dtype

    @property
    def lr(self) -> float:
        """Peak learning rate; settable, as learning-rate finders need."""
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
        """Log, in nats, of the factor by which `preprocess` shrinks volumes."""
        return 0.0

    @abstractmethod
    def preprocess(self, batch: Parts, noise: Noise) -> dict[str, Tensor]:
        """Return the left parts, without padding, of a batch (B, ...) in the units of the flow.

        `noise` is the generator of training noise, the seed of noise that is a function of the item
        (`innflow.system.ranks.draw_by_item`), or None for no noise.
        """

    def targets(self, batch: Parts, noise: Noise) -> dict[str, Tensor]:
        """Return the values that a batch gives of right and context parts; none by default."""
        return {}

    def prepare_batch(
        self, batch: Parts, noise: Noise
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the left parts, padding included, and the targets; arguments as `preprocess`."""
        with self.shared_draws() if isinstance(noise, torch.Generator) else nullcontext():
            return self.pad(self.preprocess(batch, noise), noise), self.targets(batch, noise)

    def pad(self, parts: Parts, noise: Noise) -> dict[str, Tensor]:
        """Add the padding of the left side, if it has one: small noise.

        It has a fixed seed if `noise` is None. If the padding were zero, the flow could
        scale it without bound.
        """
        if PAD not in self.partition.left:
            return dict(parts)
        x = parts["x"]
        empty = x.new_empty(len(x), *self.partition.left[PAD])
        seed = noise if isinstance(noise, torch.Generator) else PAD_SEED + (noise or 0)
        generator = seeded_generator(seed)
        return {**parts, PAD: self.latent[PAD].sample(empty, 1.0, generator)}

    def pad_log_prob(self, pad: Tensor) -> Tensor:
        """Return log q (B,) in nats of the padding (B, K) of the left side."""
        return self.latent[PAD].log_prob(pad)

    def shared_draws(self) -> AbstractContextManager[None]:
        """Return a context in which each rank draws its part of the noise of the whole batch."""
        ranks = 1 if self._trainer is None else self.trainer.world_size
        return shared_draws(self.global_rank, ranks)

    def forward(self, parts: Parts, targets: Parts | None = None) -> Step:
        """Map left parts, padding included, to the right side and return their log-likelihood.

        The log-likelihood is exact; with padding on the left it is the evidence lower bound
        log p(x, pad) - log q(pad).
        """
        targets = targets or {}
        context = self.context(targets)
        latent, logabsdet = self.flow(self.partition.join("left", parts), context)
        latents = self.partition.split("right", latent)
        log_prob = self.latent_log_prob(latents, targets) + logabsdet - self.log_volume
        if PAD in self.partition.left:
            log_prob = log_prob - self.pad_log_prob(parts[PAD].flatten(1))

        def invert(right: Parts) -> dict[str, Tensor]:
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
            companions={
                name: partial(_frozen_log_prob, companion, parts)
                for name, companion in self.companions.items()
            },
        )

    @property
    def flows(self) -> list[CouplingFlow]:
        """The flow; all flows of an ensemble."""
        return [self.flow]

    def contexts(self, targets: Parts) -> list[Tensor | None]:
        """Return the context (B, features) of each flow; None where there is none."""
        return [self.partition.join_context(targets)]

    def context(self, targets: Parts) -> Tensor | None:
        """Return the context (B, features) of the flow; None where there is none."""
        return self.contexts(targets)[0]

    def latent_log_prob(self, latents: Parts, targets: Parts) -> Tensor:
        """Return log p of right parts with these targets, (B,) in nats."""
        return self.latent.log_prob(latents, targets)

    def compute_step(self, batch: Parts, noise: Noise) -> Step:
        """Prepare a batch and run the flow on it; arguments as `preprocess`."""
        return self(*self.prepare_batch(batch, noise))

    def training_step(self, batch: Parts, batch_idx: int) -> Tensor:
        """Return the loss of one batch and log it with its terms."""
        done = progress(self.trainer, self.trainer.estimated_stepping_batches)
        self.latent.advance(done)
        noise = torch.default_generator
        step = replace(self.compute_step(batch, noise), progress=done)
        if GENERAL in batch:
            general = self.compute_step({**batch, "x": batch[GENERAL]}, noise)
            step = replace(step, outliers=general)
        loss, terms = self.objective(step, self.dims)
        size = len(step.log_prob)
        named = {f"train/{name}": value.detach() for name, value in terms.items()}
        values = {"train/loss": loss.detach(), **named, **self.step_metrics("train", step)}
        self.log_dict(values, prog_bar=True, batch_size=size)
        return loss

    def validation_step(self, batch: Parts, batch_idx: int) -> None:
        """Log loss and likelihood of a validation batch, in full precision.

        Images are dequantized with one draw per item, seeded by `VALIDATION_NOISE`. So `val/nll`
        and `val/bpd`, by which checkpoints are chosen, are upper bounds.
        """
        with torch.autocast(self.device.type, enabled=False):
            step = replace(self.compute_step(batch, VALIDATION_NOISE), training=False)
            loss, _ = self.objective(step, self.dims)
        # Lightning averages over ranks with the batch size as weight, which must be an integer.
        size = len(step.log_prob) * self.trainer.world_size
        nll = -step.log_prob.mean()
        values = {"val/nll": nll, "val/loss": loss, **self.step_metrics("val", step)}
        self.log_dict(values, prog_bar=True, batch_size=size, sync_dist=True)
        self.on_validated(step)

    def on_validated(self, step: Step) -> None:
        """Use the step of a validation batch; does nothing by default."""

    def step_metrics(self, stage: str, step: Step) -> dict[str, Tensor]:
        """Return further metrics of a step for the progress bar, named `stage/metric`."""
        return {}

    def configure_optimizers(self) -> Any:
        """Return the optimizer and a learning-rate schedule over the training progress."""
        optimizer = self.make_optimizer(self.parameters())
        steps = self.trainer.estimated_stepping_batches
        scheduler = LambdaLR(optimizer, lambda _: self.schedule(progress(self.trainer, steps)))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"},
        }

    def on_train_start(self) -> None:
        """Freeze the companions, initialise data-dependent layers in a new run, and compile."""
        for companion in self.companions.values():
            companion.to(self.device).eval().requires_grad_(False)
        if self.trainer.global_step == 0:  # a resumed run must draw no random numbers here
            self.initialise()
            scatter_parameters(self)
        if self.compiled:
            for flow in self.flows:
                compile_flow(flow, self.device)

    def initialise(self) -> None:
        """Initialise data-dependent layers, such as ActNorm, from training data."""
        loader: Any = self.trainer.train_dataloader
        batch = self.trainer.strategy.batch_to_device(self.initial_batch(loader))
        self.latent.advance(0.0)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            parts, targets = self.prepare_batch(batch, torch.default_generator)
            # Layers may regress on values of the first right part, but not on class labels.
            first = targets.get(next(iter(self.partition.right)))
            values = first if first is not None and first.is_floating_point() else None
            left = self.partition.join("left", parts)
            for flow, context in zip(self.flows, self.contexts(targets), strict=True):
                flow.initialise(left, context, values)

    def initial_batch(self, loader: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the batch from which `initialise` takes its values."""
        return next(iter(loader))

    def on_train_end(self) -> None:
        """Undo the compilation, as each new batch size would trigger another one."""
        for flow in self.flows:
            flow.uncompile()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the config, from which `innflow.load` builds the application."""
        stored = {"config": self.config, "shapes": self.shapes, "columns": self.columns}
        checkpoint["innflow"] = {"format": FORMAT, **stored, "signature": self.signature}

    def __repr__(self) -> str:
        """Show the parts, the flow and the loss."""
        return (
            f"{type(self).__name__}: {self.partition}\n  {self.flow!r}\n"
            f"  minimises {self.objective.extra_repr()}"
        )


@torch.no_grad()
def _frozen_log_prob(companion: FlowModule, parts: Parts) -> Tensor:
    """Return the log density (B,) in nats of prepared left parts under a companion."""
    return companion(parts).log_prob
