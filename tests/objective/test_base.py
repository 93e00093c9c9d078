from __future__ import annotations

import pytest
import torch

from innflow import Objective
from innflow.objective.base import Step, nll


@pytest.fixture
def step() -> Step:
    return Step(
        parts={"x": torch.zeros(3, 2)},
        latents={"z": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])},
        logabsdet=torch.zeros(3),
        log_prob=torch.tensor([-1.0, -2.0, -6.0]),
    )


def first(step: Step) -> torch.Tensor:
    return step.latents["z"][:, 0].mean()


def test_by_default_it_is_the_likelihood_per_dimension(step):
    loss, terms = Objective()(step, dims=2)
    assert loss.item() == 1.5
    assert {name: value.item() for name, value in terms.items()} == {"nll": 3.0}


def test_terms_are_weighted_in_the_loss_and_named_unweighted_in_nats(step):
    objective = Objective({"nll": nll, "first": first}, {"first": 0.5})
    loss, terms = objective(step, dims=3)
    assert {name: value.item() for name, value in terms.items()} == {"nll": 3.0, "first": 3.0}
    assert loss.item() == pytest.approx((3.0 + 0.5 * 3.0) / 3)


def test_a_weight_reaches_the_gradient():
    z = torch.ones(1, 1, requires_grad=True)
    step = Step({}, {"z": z}, torch.zeros(1), torch.zeros(1))
    loss, _ = Objective({"first": first}, {"first": 4.0})(step, dims=2)
    loss.backward()
    assert z.grad.item() == 2.0


def test_a_term_that_is_not_finite_is_not_hidden(step):
    objective = Objective({"nll": nll, "bad": lambda _: torch.tensor(float("nan"))})
    loss, terms = objective(step, dims=1)
    assert loss.isnan()
    assert terms["bad"].isnan()


def test_a_weight_without_a_term_is_refused(refused):
    with refused("weights for mdm", "the terms are nll, mmd"):
        Objective({"nll": nll, "mmd": first}, {"mdm": 2.0})


def test_it_shows_the_weighted_sum():
    objective = Objective({"nll": nll, "first": first}, {"first": 0.25})
    assert objective.extra_repr() == "1 nll + 0.25 first"
