"""Flows given observed data: embeddings of the data, and ensembles of flows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from innflow.app.application import ELEMENTS
from innflow.app.posterior.padding import NoisePadding
from innflow.errors import InnflowError
from innflow.flow import CouplingFlow, Embedding
from innflow.objective.base import Parts, Step


class Member(nn.Module):
    """A further flow of an ensemble, with its own embedding of y.

    Args:
        flow: of the same shapes as the first flow.
        embedding: of y, of the class that the first flow has; None where that has none.
    """

    def __init__(self, flow: CouplingFlow, embedding: Embedding | None = None) -> None:
        super().__init__()
        self.flow = flow
        self.embedding = embedding


class Conditional(NoisePadding):
    """Base of applications whose flow may have observed data y (B, M) as its context.

    An ensemble of K flows is trained on the same batches; its density is the mean of theirs, and
    draw or latent i is one of flow i mod K.

    Args:
        embedding: of y as context, trained with the flow; by default y itself is the context.
        others: the other flows of an ensemble. The other arguments are those of `FlowModule`.

    Raises:
        InnflowError: if y has several axes and no embedding, or an ensemble has y on the right.
    """

    def __init__(
        self,
        *args: Any,
        embedding: Embedding | None = None,
        others: Sequence[Member] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.y_shape = {**self.partition.right, **self.partition.context}.get("y", ())
        if len(self.y_shape) > 1 and embedding is None:
            raise InnflowError(
                f"y has the shape {self.y_shape}, which needs partition=given_y and an embedding, "
                f"not {self.partition}"
            )
        if others and not self.conditional:
            raise InnflowError(f"ensemble={1 + len(others)}: needs partition=given_y")
        self.embedding = embedding
        self.others = nn.ModuleList(others)

    @property
    def conditional(self) -> bool:
        """Whether y is context."""
        return "y" in self.partition.context

    @property
    def accepts_missing(self) -> bool:
        """Whether values of y may be missing."""
        return self.embedding is not None and self.embedding.missing

    @property
    def flows(self) -> list[CouplingFlow]:
        """The flow, and the others of an ensemble."""
        return [flow for flow, _ in self._members()]

    def _members(self) -> Iterator[tuple[CouplingFlow, Embedding | None]]:
        yield self.flow, self.embedding
        for other in self.others:
            assert isinstance(other, Member)
            yield other.flow, other.embedding

    def contexts(self, targets: Parts) -> list[Tensor | None]:
        """Return the context (B, features) of each flow: y (B, M) or its embedding."""
        return [self._embed(embedding, targets) for _, embedding in self._members()]

    def summarize(self, y: Tensor) -> Tensor:
        """Return standardised data (B, M) as finite numbers (B, K) for tests of calibration."""
        return y if self.embedding is None else self.embedding.summarize(y)

    def forward(self, parts: Parts, targets: Parts | None = None) -> Step:
        """Map left parts to the right side; the log-likelihood is that of the ensemble.

        In training it is the mean of those of the flows, so that each is trained as if alone.
        """
        step, count = super().forward(parts, targets), 1 + len(self.others)
        if count == 1:
            return step
        log_probs, latents = [step.log_prob], [self.partition.join("right", step.latents)]
        left, targets = self.partition.join("left", parts), targets or {}
        for flow, context in list(zip(self.flows, self.contexts(targets), strict=True))[1:]:
            latent, logabsdet = flow(left, context)
            own = self.latent_log_prob(self.partition.split("right", latent), targets)
            log_probs.append(own + logabsdet - self.log_volume)
            latents.append(latent)
        joint = torch.stack(log_probs)
        rows = torch.arange(len(left), device=left.device)
        chosen = torch.stack(latents)[rows % count, rows]
        return replace(
            step,
            latents=self.partition.split("right", chosen),
            log_prob=joint.mean(0) if self.training else joint.logsumexp(0) - math.log(count),
        )

    def invert(self, right: Tensor, targets: Parts) -> Tensor:
        """Return the joined left side (B, N) of the joined right side, row i by flow i mod K."""
        if not self.others:
            return self.flow.inverse(right, self.context(targets))[0]
        count, joined = 1 + len(self.others), torch.empty_like(right)
        for index, (flow, embedding) in enumerate(self._members()):
            rows = slice(index, None, count)
            given = {name: part[rows] for name, part in targets.items()}
            if len(right[rows]):
                joined[rows], _ = flow.inverse(right[rows], self._embed(embedding, given))
        return joined

    def _embed(self, embedding: Embedding | None, targets: Parts) -> Tensor | None:
        """Return y (B, M) or its embedding (B, features); None where y is no context."""
        if embedding is None:
            return self.partition.join_context(targets)
        y = targets["y"]
        if torch.is_grad_enabled():
            return embedding(y)
        # Rows that repeat, as for many draws at one observation, are embedded once.
        filled = y.nan_to_num(nan=torch.inf)
        _, places, counts = filled.unique_consecutive(True, True, dim=0)
        pieces = y[counts.cumsum(0) - counts].split(max(1, ELEMENTS // y.shape[1]))
        return torch.cat([embedding(piece) for piece in pieces])[places]
