"""Generative classification of images and vectors by Bayes' rule (applications 3 and 4)."""

from typing import Any, cast

import torch
from torch import Tensor

from innflow.app.application import Unconditional
from innflow.app.module import Noise
from innflow.app.preprocess import LEVELS, Dequantization, Preprocessing
from innflow.errors import InnflowError
from innflow.latent.mixture import ClassMixture
from innflow.objective.base import Parts, Step


class Classification(Unconditional):
    """Exact class-conditional likelihoods of images or vectors; [x] <-> [y, z].

    Only the density of the right part y depends on the class, so p(class | x) is exact. The
    likelihood in training is that of x, p(x) = sum_c p(c) p(x | c); labels enter through the
    cross-entropy of the objective.

    Args:
        levels: number of grey levels of images; vectors have none. The other arguments are those
            of `FlowModule`.

    Raises:
        InnflowError: if the partition has no part y, or y has no density for each class.

    Example:
        >>> from innflow import Latent, Partition, flow
        >>> from innflow.latent import StandardNormal
        >>> latent = Latent({"z": StandardNormal(), "y": ClassMixture(classes=4)})
        >>> partition = Partition({"x": (5,)}, {"z": (3,), "y": (2,)})
        >>> app = Classification(flow.vector(5, depth=2, hidden=(8,)), partition, latent)
        >>> app.classify(torch.randn(6, 5)).shape
        torch.Size([6, 4])
    """

    def __init__(self, *args: Any, levels: int = LEVELS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        images = len(self.shape) == 3
        self.preprocessing = Dequantization(levels) if images else Preprocessing()
        if "y" not in self.partition.right or set(self.partition.left) - {"x", "pad"}:
            raise InnflowError(f"Classification: needs x <-> y, z, not {self.partition}")
        if not isinstance(self.latent["y"], ClassMixture):
            raise InnflowError(
                "Classification: the part y needs one density for each class: "
                "latent=class_mixture or latent=one_hot"
            )

    @property
    def mixture(self) -> ClassMixture:
        """Density of the class part y."""
        return cast(ClassMixture, self.latent["y"])

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by label."""
        names = self.columns.get("label")
        return names or [str(label) for label in range(self.mixture.classes)]

    def check_data(self, data: Any) -> None:
        """Raise if the data have no labels or another number of classes."""
        super().check_data(data)
        names = list(data.classes)
        if not names or "label" not in data.sets()["train"].parts:
            raise InnflowError(
                "Classification: the data have no labels; set data.labels=true or use other data"
            )
        if len(names) != self.mixture.classes:
            raise InnflowError(
                f"latent.y.classes={self.mixture.classes}: the data have {len(names)} classes, "
                f"{', '.join(names[:12])}"
            )

    def targets(self, batch: Parts, noise: Noise) -> dict[str, Tensor]:
        """Return the labels (B,) as target of y."""
        return {"y": batch["label"]}

    def latent_log_prob(self, latents: Parts, targets: Parts) -> Tensor:
        """Return log p of right parts, (B,) in nats, summed over the classes."""
        return self.latent.log_prob(latents)

    def class_log_prob(self, x: Any, noise_seed: int | None = None) -> Tensor:
        """Return log p(x | class), (B, C) in nats; arguments as for `log_prob`."""
        with self._inference():
            step = self(self._left(x, noise_seed))
            return step.log_prob[:, None] + self.mixture.class_log_ratio(step.latents["y"])

    def measured_arrays(self, x: Tensor) -> dict[str, Tensor]:
        """Return the entries of `Measured`, with those of the classes."""
        arrays = super().measured_arrays(x)
        y = self.partition.split("right", arrays["latent"])["y"]
        class_log_prob = arrays["log_prob"][:, None] + self.mixture.class_log_ratio(y)
        return {**arrays, "class_log_prob": class_log_prob}

    def classify(self, x: Any, noise_seed: int | None = None) -> Tensor:
        """Return p(class | x), (B, C), by Bayes' rule; arguments as for `log_prob`."""
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
        """Draw n items as `Unconditional.sample` does, of one class or of several.

        `label` is one class or a class for each sample, (n,); None draws them from the prior.
        """
        targets = {} if label is None else {"y": self._validated_labels(label, n)}
        return self._draw(n, temperature, seed, targets)

    def class_means(self) -> Tensor:
        """Return the decoded mean of each class, (C, *shape) in data units; z is 0."""
        means = self.mixture.means.detach()
        zeros = means.new_zeros(len(means), self.partition.features)
        parts = {**self.partition.split("right", zeros), "y": means}
        return self.decode(self.partition.join("right", parts))

    def counterfactual(self, x: Any, label: int | Tensor, target: int | Tensor) -> Tensor:
        """Return x (B, *shape) moved from class `label` to class `target`, each an int or (B,).

        z and the standardised y within the class stay the same.
        """
        x = self.to_data(x)
        with self._inference():
            parts = dict(self(self._left(x)).latents)
            labels = self._validated_labels(label, len(x))
            targets = self._validated_labels(target, len(x))
            parts["y"] = self.mixture.transfer(parts["y"], labels, targets)
        return self.decode(self.partition.join("right", parts))

    def _validated_labels(self, label: int | Tensor, count: int) -> Tensor:
        labels = torch.as_tensor(label).expand(count)
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise InnflowError(
                f"Classification: labels go from 0 to {len(self.classes) - 1}, got "
                f"{int(labels.min())} to {int(labels.max())}"
            )
        return labels.to(self.device)

    def step_metrics(self, stage: str, step: Step) -> dict[str, Tensor]:
        """Return the accuracy of the most probable class, and the bits per dim of images."""
        chosen = self.mixture.joint_log_prob(step.latents["y"]).argmax(dim=1)
        accuracy = (chosen == step.targets["y"]).float().mean()
        return {**super().step_metrics(stage, step), f"{stage}/accuracy": accuracy}
