"""Tests of the latent distribution, and of the noise that is drawn jointly with x."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.findings import Findings, Plot
from innflow.analysis.posterior import draws
from innflow.analysis.posterior.local_calibration import standardize
from innflow.analysis.study import Analysis, Study
from innflow.app.posterior.inverse import Inverse
from innflow.config.bounds import Many
from innflow.errors import InnflowError
from innflow.figure.posterior.profile import plot_recovery
from innflow.metric import compute_independence, compute_normality

FEWEST = 20
STREAM = 30


@dataclass
class Recovery(Analysis):
    """Test that z is N(0, I) and independent of y, and compare drawn with implied noise.

        >>> Recovery(items=500)
        Recovery(items=500)

    Attributes:
        items: number of test items, the first ones.
    """

    items: Many = 2000

    def check(self, study: Study) -> None:
        """Raise InnflowError without a posterior, and for too few items."""
        app = draws.require_posterior(study, "recovery")
        draws.require_items(study, "recovery", FEWEST)
        if "eps" in app.partition.left and draws.problem_of(study).noise is None:
            raise InnflowError(
                f"analysis recovery: {app.partition} draws noise, but the data have no declared "
                "noise: set data.noise, or choose partition=x_yz"
            )

    def __call__(self, study: Study) -> Findings:
        """Return `latent/normal_p`, `latent/independence_p` and, with eps, `recovery/...`."""
        app = draws.require_posterior(study, "recovery")
        items = study.count(self.items, 64)
        parts = {name: part[:items] for name, part in study.sets["test"].parts.items()}
        y = draws.widen(study, parts["y"])
        eps = parts["eps"] if "eps" in app.partition.left else None
        z = app.encode(_spread(study, parts["x"]), y, eps).cpu().numpy()
        normal = compute_normality(z)
        joint = compute_independence(z, standardize(app, y), study.seed)
        metrics = {
            "latent/normal_p": normal.p_value,
            "latent/normal_distance": float(normal.distances.max()),
            "latent/independence_p": joint.p_value,
            "latent/independence": joint.correlation,
        }
        text = (
            f"Latent z of {len(z):,} items of test: the largest Kolmogorov-Smirnov distance of one "
            f"of its {z.shape[1]} dimensions from N(0, 1) is {normal.distances.max():.3f}, "
            f"p = {normal.p_value:.3g} with the correction for {z.shape[1]} tests. Its squared "
            f"distance correlation with y is {joint.correlation:.4f}, p = {joint.p_value:.3g} by "
            "permutation. A small p means that z is not normal, or depends on y; with many items "
            "even a small deviation gives a small p."
        )
        findings = Findings("Latent and noise", text, metrics)
        if "eps" in app.partition.left:
            self._recover(study, app, parts, findings)
        return findings

    def _recover(
        self, study: Study, app: Inverse, parts: dict[str, Tensor], findings: Findings
    ) -> None:
        """Compare the eps that is drawn together with x with S^-1 (y - f(x))."""
        data = draws.problem_of(study)
        assert data.forward is not None
        assert data.noise is not None
        seed = draws.make_seed(study, (STREAM,))
        x = app.posterior(parts["y"], 1, seed)[:, 0].cpu().float()
        drawn = app.posterior_noise(parts["y"], 1, seed)[:, 0].cpu().double().numpy()
        residual = (parts["y"] - data.forward(x)).double()
        whiten = torch.linalg.inv(data.noise.double())
        exact = (residual @ whiten.T).numpy()
        finite = np.isfinite(exact).all(axis=1)
        rmse = float(np.sqrt(np.square(drawn[finite] - exact[finite]).mean()))
        correlation = float(np.corrcoef(drawn[finite].ravel(), exact[finite].ravel())[0, 1])
        normal = compute_normality(drawn)
        # The noise added to y in training contributes to the difference.
        width = app.width / draws.unit_slope(app, parts["y"]).double()
        floor = float((width.square() @ whiten.square().T).mean().sqrt())
        findings.metrics |= {
            "recovery/eps_rms": rmse,
            "recovery/eps_rms_floor": floor,
            "recovery/eps_correlation": correlation,
            "recovery/eps_normal_p": normal.p_value,
            "recovery/eps_normal_distance": float(normal.distances.max()),
        }
        findings.text += (
            "\n\n"
            "Noise eps drawn with x compared with S^-1 (y - f(x)) of the same x, one draw at each "
            f"of {int(finite.sum()):,} observations: root mean square difference {rmse:.3f} "
            f"standard deviations of the noise (of which the width of y causes {floor:.3f}), "
            f"correlation {correlation:.4f}. Test that the drawn eps is N(0, 1) over the "
            f"observations: largest Kolmogorov-Smirnov distance {normal.distances.max():.3f}, p = "
            f"{normal.p_value:.3g}."
        )
        if not finite.all():
            findings.text += (
                f" The forward model gives no finite data for {int((~finite).sum()):,} draws."
            )
        findings.figures["recovery"] = Plot(
            plot_recovery(drawn[finite], exact[finite]),
            "Noise drawn with the parameters against S^-1 (y - f(x)), the noise that they imply.",
        )


def _spread(study: Study, x: Tensor) -> Tensor:
    """Return x with uniform noise on discrete parameters, as in training."""
    discrete = draws.problem_of(study).support.discrete
    generator = torch.Generator().manual_seed(study.seed)
    return x + (torch.rand(x.shape, generator=generator) - 0.5) * discrete
