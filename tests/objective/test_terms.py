"""Loss terms of classification and inverse problems: loops and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from innflow.latent.density import Latent, Observed, StandardNormal
from innflow.latent.mixture import ClassMixture
from innflow.objective.base import Objective, Step, nll
from innflow.objective.classification import CrossEntropy, information_bottleneck
from innflow.objective.inverse import BACKWARD_KERNELS, Fit, InputMMD, LatentMMD, bidirectional, mmd

BATCH = 6


def classes_step() -> Step:
    mixture = ClassMixture(3)
    mixture.build(2)
    y = torch.randn(BATCH, 2)
    return Step(
        parts={"x": torch.randn(BATCH, 2)},
        latents={"y": y},
        logabsdet=torch.zeros(BATCH),
        log_prob=mixture.log_prob(y),
        targets={"y": torch.tensor([0, 1, 2, 0, 1, 2])},
        latent=Latent({"y": mixture}),
    )


def inverse_step(progress: float = 1.0) -> Step:
    latents = {"y": torch.randn(BATCH, 1), "z": torch.randn(BATCH, 2)}
    for value in latents.values():
        value.requires_grad_()
    return Step(
        parts={"x": torch.randn(BATCH, 3)},
        latents=latents,
        logabsdet=torch.zeros(BATCH),
        log_prob=torch.zeros(BATCH),
        targets={"y": torch.randn(BATCH, 1)},
        latent=Latent({"y": Observed(0.1), "z": StandardNormal()}),
        invert=lambda right: {"x": torch.cat((right["y"], right["z"]), dim=1)},
        progress=progress,
    )


def test_cross_entropy_is_that_of_bayes_rule():
    step = classes_step()
    joint = step.latent["y"].class_log_prob(step.latents["y"]) - math.log(3)
    posterior = (joint - joint.logsumexp(dim=1, keepdim=True)).exp()
    expected = -posterior[torch.arange(BATCH), step.targets["y"]].log().mean()
    assert torch.allclose(CrossEntropy()(step), expected, atol=1e-6)
    smooth = cross_entropy(joint, step.targets["y"], label_smoothing=0.1)
    assert torch.allclose(CrossEntropy(0.1)(step), smooth, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5, 10.0])
def test_the_bottleneck_weighs_density_per_dim_against_labels(beta):
    step = classes_step()
    loss, values = information_bottleneck(beta)(step, dims=4)
    expected = 2 / (1 + beta) * nll(step) / 4 + 2 * beta / (1 + beta) * CrossEntropy()(step)
    assert torch.allclose(loss, expected)
    assert set(values) == ({"nll", "cross_entropy"} if beta else {"nll"})


def test_beta_of_one_over_dims_is_the_likelihood_of_x_and_label():
    step = classes_step()
    mixture, labels = step.latent["y"], step.targets["y"]
    loss, _ = information_bottleneck(1 / 2)(step, dims=2)
    joint = mixture.log_prob(step.latents["y"], labels) - math.log(3)
    # The weights of both terms are 4/3 and 2/3: 2/3 per nat of each.
    assert torch.allclose(loss, -2 / 3 * joint.mean(), atol=1e-6)


def test_mmd_is_the_double_loop():
    a, b = torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)

    def kernel(p, q):
        square = float((p - q).square().sum())
        return sum((power * c / (c + square)) ** power for c, power in BACKWARD_KERNELS)

    def mean(left, right):
        return sum(kernel(p, q) for p in left for q in right) / (len(left) * len(right))

    expected = mean(a, a) + mean(b, b) - 2 * mean(a, b)
    assert float(mmd(a, b, BACKWARD_KERNELS)) == pytest.approx(expected, abs=1e-12)
    assert float(mmd(a, a, BACKWARD_KERNELS)) == pytest.approx(0, abs=1e-12)


def test_fit_sums_over_features_and_counts_the_padding():
    step = inverse_step()
    error = (step.latents["y"] - step.targets["y"]).square().sum(dim=1)
    assert torch.allclose(Fit()(step), error.mean())
    padded = Step(**{**vars(step), "latents": {**step.latents, "pad": torch.full((BATCH, 2), 0.5)}})
    assert torch.allclose(Fit()(padded), error.mean() + 0.5)


def test_the_latent_mmd_has_no_gradient_to_y_hat():
    step = inverse_step()
    LatentMMD()(step).backward()
    assert step.latents["y"].grad is None
    assert step.latents["z"].grad.abs().sum() > 0


def test_the_ramp_of_the_input_mmd_rises_to_one():
    torch.manual_seed(0)
    early, middle, late = (InputMMD()(inverse_step(p)) for p in (0.0, 0.5, 1.0))
    torch.manual_seed(0)
    full = [float(InputMMD(ramp=False)(inverse_step(p))) for p in (0.0, 0.5, 1.0)]
    assert float(early) / full[0] == pytest.approx(0.004, rel=1e-4)
    assert float(middle) / full[1] == pytest.approx(2 * 0.002**0.5, rel=1e-4)
    assert float(late) / full[2] == pytest.approx(1, rel=1e-6)


def test_the_bidirectional_objective_is_not_divided_by_dims():
    step = inverse_step()
    torch.manual_seed(1)
    loss, values = bidirectional(fit=2.0, latent=3.0, inputs=5.0)(step, dims=7)
    assert torch.allclose(
        loss, 2 * values["fit"] + 3 * values["latent_mmd"] + 5 * values["input_mmd"]
    )


def test_invalid_settings_and_inputs_are_refused(refused):
    with refused("beta=-1"):
        information_bottleneck(-1)
    with refused("label_smoothing=1"):
        CrossEntropy(1)
    with refused("every weight is 0"):
        Objective(weights={"nll": 0})
    bare = Step({}, {"y": torch.zeros(1, 1)}, torch.zeros(1), torch.zeros(1))
    with refused("needs labels"):
        CrossEntropy()(bare)
    with refused("needs y"):
        Fit()(bare)
    with refused("inverse of the flow"):
        InputMMD()(bare)
