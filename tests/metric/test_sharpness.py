import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.metric import (
    check_ranks,
    check_sharpness,
    compute_energy,
    compute_ranks,
    compute_sharpness,
)

N, L = 200, 100


def conjugate(seed=0, noise=1.0):
    """x ~ N(0, I), y = x + noise: exact posterior draws, and as many of the prior."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(N, 2))
    y = truth + noise * rng.normal(size=(N, 2))
    gain, sd = 1 / (1 + noise**2), noise / np.sqrt(1 + noise**2)
    exact = gain * y[:, None] + sd * rng.normal(size=(N, L, 2))
    return truth, exact, rng.normal(size=(N, L, 2))


def test_sharpness_of_a_conjugate_posterior_is_known():
    _, exact, prior = conjugate()
    assert compute_sharpness(exact, np.ones(2)) == pytest.approx([0.5**0.5] * 2, abs=0.02)
    assert compute_sharpness(prior, np.ones(2)) == pytest.approx([1, 1], abs=0.02)
    assert compute_sharpness(exact * [1, 100], [1, 100]) == pytest.approx([0.5**0.5] * 2, abs=0.02)


def test_draws_of_the_prior_pass_the_ranks_and_fail_the_sharpness():
    truth, exact, prior = conjugate()
    rng = np.random.default_rng(0)
    for draws in (exact, prior):
        assert check_ranks(compute_ranks(truth, draws, rng), L, rng).p_value > 0.05
    good = check_sharpness(compute_energy(truth, exact), rng)
    assert good.p_value == 0.001
    assert good.skill > 0.2
    bad = check_sharpness(compute_energy(truth, prior), rng)
    assert bad.p_value > 0.05
    assert bad.skill == pytest.approx(0, abs=0.02)


def test_weak_data_are_still_noticed():
    truth, exact, _ = conjugate(noise=3.0)
    result = check_sharpness(compute_energy(truth, exact), np.random.default_rng(0))
    assert result.p_value < 0.01
    assert 0 < result.skill < 0.2


def test_permutation_test_has_its_level():
    rng = np.random.default_rng(0)
    p = [
        check_sharpness(
            compute_energy(rng.normal(size=(20, 1)), rng.normal(size=(20, 10, 1))), rng, 99
        ).p_value
        for _ in range(200)
    ]
    assert 0.01 <= np.mean(np.array(p) <= 0.1) <= 0.17


def test_energy_score_equals_its_definition():
    truth, exact, _ = conjugate()
    truth, draws = truth[:4], exact[:4, :6]
    energy = compute_energy(truth, draws)
    sd = truth.std(axis=0)
    for i in range(4):
        for j in range(4):
            cloud = draws[j] / sd
            to_truth = np.mean([np.linalg.norm(p - truth[i] / sd) for p in cloud])
            spread = np.mean(
                [np.linalg.norm(cloud[a] - cloud[b]) for a in range(6) for b in range(6) if a != b]
            )
            assert energy[i, j] == pytest.approx(to_truth - spread / 2)


def test_draws_equal_to_the_truth_have_skill_one():
    truth, _, _ = conjugate()
    energy = compute_energy(truth, np.repeat(truth[:, None], 5, axis=1))
    assert check_sharpness(energy, np.random.default_rng(0)).skill == pytest.approx(1)


def test_too_little_is_refused():
    truth, exact, _ = conjugate()
    with pytest.raises(InnflowError, match="two draws or more"):
        compute_energy(truth, exact[:, :1])
    with pytest.raises(InnflowError, match="two observations or more"):
        check_sharpness(np.ones((1, 1)), np.random.default_rng(0))
