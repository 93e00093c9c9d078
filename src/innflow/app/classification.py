"""Classification: data to a class part and a latent; labels by Bayes' rule. Applications 3, 4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from innflow.app.application import Unconditional
from innflow.app.preprocess import LEVELS, Pixels, Vectors
from innflow.errors import InnflowError
from innflow.latent.mixture import ClassMixture
from innflow.objective.base import Step
from innflow.score.base import Measured


class Classification(Unconditional):
    """Exact class-conditional likelihoods of images or vectors; [x] <-> [y, z].

    The right part y has one density a class, the rest of the latent is the same for all, so
    p(class | x) is exact. The likelihood of training is that of x alone, log p(x) = log sum_c
    p(c) p(x | c); labels enter through the objective's cross-entropy.

        app.classify(x), app.class_log_prob(x), app.class_means(), app.counterfactual(x, 0, 1)

    Args:
        args: as for `FlowModule`.
        levels: number of grey levels of images; vectors have none.
        kwargs: as for `FlowModule`.
    """

    def __init__(self, *args: Any, levels: int = LEVELS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.units = Pixels(levels) if len(self.shape) == 3 else Vectors()
        if "y" not in self.partition.right or set(self.partition.left) - {"x", "pad"}:
            raise InnflowError(f"Classification: takes x <-> y, z, not {self.partition}")
        if not isinstance(self.latent["y"], ClassMixture):
            raise InnflowError(
                "Classification: the part y needs one density a class: latent=class_mixture or "
                "latent=one_hot"
            )

    @property
    def mixture(self) -> ClassMixture:
        """The densities of the classes."""
        return cast(ClassMixture, self.latent["y"])

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by label."""
        names = self.columns.get("label")
        return names or [str(label) for label in range(self.mixture.classes)]

    def check_data(self, data: Any) -> None:
        """Refuse data without labels, or with another number of classes.

        Raises:
            InnflowError: saying which key to change.
        """
        super().check_data(data)
        names = list(getattr(data, "classes", None) or [])
        if not names or "label" not in data.sets()["train"].parts:
            raise InnflowError(
                "Classification: the data have no labels: data.labels=true, or another data set"
            )
        if len(names) != self.mixture.classes:
            raise InnflowError(
                f"latent.y.classes={self.mixture.classes}: the data have {len(names)} classes, "
                f"{', '.join(names[:12])}"
            )

    def targets(
        self, batch: Mapping[str, Tensor], noise: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Give the labels."""
        return {"y": batch["label"]}

    def likelihood(self, latents: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Return log p of right parts, (B,) in nats, of whatever class."""
        return self.latent.log_prob(latents)

    def class_log_prob(self, x: Tensor, noise_seed: int | None = None) -> Tensor:
        """Return log p(x | class), (B, C) in nats.

        Args:
            x: data, (B, *shape).
            noise_seed: seed of the noise that training adds to images; none is added without.
        """
        with self._asked():
            noise = None if noise_seed is None else torch.Generator().manual_seed(noise_seed)
            step = self._step(x, noise)
            y = step.latents["y"]
            rest = step.log_prob - self.mixture.log_prob(y)
            return rest[:, None] + self.mixture.class_log_prob(y)

    def _measure(self, x: Tensor) -> Measured[Tensor]:
        measured = super()._measure(x)
        y = self.partition.split("right", measured.latent)["y"]
        rest = measured.log_prob - self.mixture.log_prob(y)
        return replace(measured, class_log_prob=rest[:, None] + self.mixture.class_log_prob(y))

    def classify(self, x: Tensor, noise_seed: int | None = None) -> Tensor:
        """Return p(class | x), (B, C), by Bayes' rule; arguments as for `class_log_prob`."""
        with torch.no_grad():
            joint = self.class_log_prob(x, noise_seed) + self.mixture.log_prior
            return joint.softmax(dim=1)

    def sample(
        self,
        n: int,
        temperature: float = 1.0,
        seed: int | None = None,
        label: int | Tensor | None = None,
    ) -> Tensor:
        """Draw n items, (n, *shape) in data units; images as uint8.

        Args:
            n: how many.
            temperature: factor on the width of the latent.
            seed: of the draw; torch's global generator without.
            label: of the class to draw from, one or (n,); from the class prior without.
        """
        if label is None:
            return self._draw(n, temperature, seed, {})
        labels = torch.as_tensor(label).expand(n)
        return self._draw(n, temperature, seed, {"y": self._labels(labels)})

    def class_means(self) -> Tensor:
        """Return what the mean of each class decodes to, (C, *shape) in data units."""
        means = self.mixture.means.detach()
        empty = means.new_zeros(len(means), self.partition.features)
        parts = self.partition.split("right", empty)
        return self.decode(self.partition.join("right", {**parts, "y": means}))

    def counterfactual(self, x: Tensor, label: int | Tensor, target: int | Tensor) -> Tensor:
        """Return x as it would be in another class: same z, same place within the class.

        Args:
            x: data, (B, *shape).
            label: the class of x, one or (B,).
            target: the class to go to, one or (B,).
        """
        with self._asked():
            parts = dict(self._step(x).latents)
            given = self._labels(torch.as_tensor(label).expand(len(x)))
            wanted = self._labels(torch.as_tensor(target).expand(len(x)))
            parts["y"] = self.mixture.transfer(parts["y"], given, wanted)
        return self.decode(self.partition.join("right", parts))

    def _labels(self, labels: Tensor) -> Tensor:
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise InnflowError(
                f"Classification: labels go from 0 to {len(self.classes) - 1}, got "
                f"{int(labels.min())} to {int(labels.max())}"
            )
        return labels.to(self.device)

    def _likelihood(self, stage: str, step: Step) -> dict[str, Tensor]:
        y = step.latents["y"]
        chosen = (self.mixture.class_log_prob(y) + self.mixture.log_prior).argmax(dim=1)
        accuracy = (chosen == step.targets["y"]).float().mean()
        return {**super()._likelihood(stage, step), f"{stage}/accuracy": accuracy}
