"""Losses on a general set: formulas and published constants."""

from __future__ import annotations

import math

import pytest
import torch

from innflow.latent.density import Latent
from innflow.latent.mixture import ClassMixture
from innflow.objective.base import Step
from innflow.objective.outlier import (
    TEMPERATURE,
    WEIGHT,
    Margin,
    Negative,
    OtherClasses,
    Outlier,
    margin,
    negative,
    outlier_exposure,
)

BATCH, DIMS = 4, 12


def step(log_prob, outliers=None, general=None, **rest) -> Step:
    """Return a step over images of 12 values, with general items of a given log p."""
    parts = {"x": torch.zeros(BATCH, 3, 2, 2)}
    base = {"parts": parts, "latents": {}, "logabsdet": torch.zeros(BATCH)}
    companions = {} if general is None else {"general": lambda: general}
    other = None if outliers is None else Step(**base, log_prob=outliers, companions=companions)
    return Step(**{**base, "log_prob": log_prob, "outliers": other, **rest})


def test_outlier_is_the_published_loss_with_its_temperature_per_dimension():
    p_in, p_general = torch.randn(BATCH) * 5, torch.randn(BATCH) * 5
    loss = Outlier()(step(torch.zeros(BATCH), p_in, p_general))
    t = 1000 * DIMS / 3072
    expected = -torch.sigmoid((p_general - p_in) / t).log().mean()
    assert torch.allclose(loss, expected)


def test_gradient_of_the_outlier_loss_at_equal_likelihoods():
    p_in = torch.zeros(BATCH, requires_grad=True)
    objective = outlier_exposure()
    loss, terms = objective(step(torch.zeros(BATCH), p_in, torch.zeros(BATCH)), DIMS)
    loss.backward()
    # lambda / (2 T) of arXiv:2006.10848 beside an nll that is divided by the dimensions.
    assert torch.allclose(p_in.grad * DIMS * BATCH, torch.full((BATCH,), 3.0))
    assert set(terms) == {"nll", "outlier"}
    assert math.isclose(WEIGHT / TEMPERATURE, 6.0)


def test_margin_has_a_gradient_to_the_general_items_only():
    p_in = torch.tensor([0.0, 0.0, 0.0, 0.0], requires_grad=True)
    p_out = torch.tensor([-30.0, -6.0, -12.0, 5.0], requires_grad=True)
    loss = Margin(1.0)(step(p_in, p_out))
    assert math.isclose(loss.item(), (0 + 6 + 0 + 17) / 4)
    loss.backward()
    assert p_in.grad is None
    assert p_out.grad.tolist() == [0.0, 0.25, 0.0, 0.25]


def test_negative_counts_what_is_above_the_floor():
    p_out = torch.tensor([-10.0, -100.0, -20.0, -1e6], requires_grad=True)
    loss = Negative(floor=-5.0)(step(torch.zeros(BATCH), p_out))  # -60 nats over 12 dimensions
    assert loss.item() == -15.0
    loss.backward()
    assert p_out.grad.tolist() == [0.5, 0.0, 0.5, 0.0]


def test_negative_is_zero_where_all_are_below_the_floor():
    p_out = torch.full((BATCH,), -1e6, requires_grad=True)
    loss = Negative(floor=-5.0)(step(torch.zeros(BATCH), p_out))
    loss.backward()
    assert loss.item() == 0.0
    assert not p_out.grad.any()


def test_negative_weighs_both_likelihoods_by_a_half():
    value, _ = negative()(step(torch.full((BATCH,), -24.0), torch.full((BATCH,), -12.0)), DIMS)
    assert math.isclose(value.item(), (24 - 12) / 2 / DIMS, rel_tol=1e-6)


def test_margin_objective_is_per_dimension():
    value, _ = margin(weight=2.0)(step(torch.zeros(BATCH), torch.zeros(BATCH)), DIMS)
    assert math.isclose(value.item(), 2.0)


def test_other_classes_sums_over_wrong_ones():
    mixture = ClassMixture(3)
    mixture.build(2)
    y, labels = torch.randn(BATCH, 2), torch.tensor([0, 1, 2, 0])
    general = torch.randn(BATCH)
    log_prob = mixture.log_prob(y) + 0.7  # 0.7: what the rest of the latent adds
    case = step(
        log_prob,
        latents={"y": y},
        latent=Latent({"y": mixture}),
        targets={"y": labels},
        companions={"general": lambda: general},
    )
    expected = 0.0
    for i in range(BATCH):
        for k in range(3):
            if k != labels[i]:
                ratio = mixture.class_log_prob(y)[i, k].item() + 0.7 - general[i].item()
                expected += math.log1p(math.exp(ratio / (DIMS * TEMPERATURE)))
    assert math.isclose(OtherClasses()(case).item(), expected / (BATCH * 3), rel_tol=1e-5)


@pytest.mark.parametrize(
    ("term", "lacks"),
    [(Outlier(), "data.general=DIR"), (Margin(), "data.general"), (Negative(), "data.general")],
)
def test_a_missing_general_set_is_refused(refused, term, lacks):
    with refused(lacks):
        term.check({"general": None}, False)
    with refused(lacks):
        term(step(torch.zeros(BATCH)))


def test_a_missing_companion_is_refused(refused):
    with refused("companions.tiny=DIR"):
        Outlier(against="tiny").check({"general": None}, True)
    with refused("companions.general=DIR"):
        Outlier()(step(torch.zeros(BATCH), torch.zeros(BATCH)))


@pytest.mark.parametrize("make", [lambda: Outlier(0.0), lambda: Margin(-1.0)])
def test_scales_must_be_positive(refused, make):
    with refused("must be a number above 0"):
        make()
