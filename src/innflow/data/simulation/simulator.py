"""Inverse problems as data modules: parameters from a prior, data from a forward model."""

import os
import shutil
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from innflow.data.base import check_choice, check_fraction, check_whole
from innflow.data.sets import Batch, PartsSet, make_sets
from innflow.data.simulation import simulate as runs
from innflow.data.simulation.external import CommandModel
from innflow.data.simulation.forward import ARRAYS, ForwardModel, trial_rows
from innflow.data.simulation.inverse_data import InverseData, names_of
from innflow.data.simulation.likelihood import Likelihood
from innflow.data.simulation.missing import check_missing
from innflow.data.simulation.noise import (
    Noise,
    add_noise,
    draw_noise,
    noise_factor,
    noise_log_prob,
)
from innflow.data.simulation.prior import Bounds, Prior
from innflow.data.simulation.reference import check_reference, draw_reference
from innflow.data.simulation.seeding import seeded
from innflow.data.simulation.support import check_varied, given_support, support_of
from innflow.errors import InnflowError
from innflow.system.progress import announce
from innflow.system.ranks import randn

# A random stream is [seed, purpose, source]. Ids start at 1: SeedSequence ignores trailing zeros.
_TRAIN, _TEST, _FRESH, _TRIAL = range(1, 5)
_PRIOR, _MODEL, _NOISE = range(1, 4)
_FEW = 32  # simulations to find out whether a model has noise


class Simulator(InverseData):
    """Simulated pairs of parameters x and data y = f(x) + S eps, eps standard normal.

    The sets have the parts x (N, P), y (N, M) and, where noise is declared, eps (N, M). Training
    batches get fresh noise.

    >>> arm = "innflow.problem.arm"
    >>> data = Simulator(f"{arm}.prior", f"{arm}.forward", n=100, n_test=10, batch_size=8)
    >>> data.shapes
    {'x': (4,), 'y': (2,)}
    >>> {name: len(items) for name, items in data.sets().items()}
    {'train': 90, 'val': 10, 'test': 10}

    Args:
        prior: Import path of a distribution of torch, of a frozen one of scipy.stats, of another
            object with `sample((n,))` and perhaps `log_prob`, or of a function without arguments
            that makes one; or bounds {name: [low, high]} of uniform parameters.
        forward: Import path of a function of parameters (B, P) that returns data (B, M), or (B,
            ...) of series and images.
        command: Program in place of it, see `CommandModel`: `./sim {a} {b}` prints the data.
        noise: S: a standard deviation, one for each observable, a lower-triangular factor (M, M),
            or the import path of one; null where the forward model has noise of its own, or none.
        reference: Import path of a function (y, n, rng, noise) that draws (n, P) from p(x | y).
        log_likelihood: Import path of a function of data (M,) and parameters (B, P) that returns
            log p(y | x), (B,) in nats; declared noise needs none.
        missing: Mean share of the values of y that are left out at random; null for none.
        trials: Number of independent trials under the same parameters, or [least, most]; y is then
            (trials, D) for a forward model that returns (B, D). The reference gets the trials that
            are not missing, (n, D), the likelihood one of them; null for a single y.
        n: Number of simulations for the sets "train" and "val".
        n_test: Number of simulations for the set "test".
        parameters: Names of the parameters; by default PARAMETERS of the forward model's module
            where it has as many, else x0, x1, ...
        observables: Names of the data; by default OBSERVABLES likewise, else y0, y1, ...
        support: [low, high] of each parameter, null for an open end; by default what the prior
            declares, and any real number where it declares none.
        failures: Largest fraction of the simulations that may fail; they are left out.
        processes: Worker processes that simulate, at most; all cores by default, 0 for this process
            alone. Short simulations have one.
        array: Type of the forward model's argument: "torch", "numpy" or "auto", see `ForwardModel`.
        cache_dir: Where simulations are kept; null for nowhere.
        batch_size, holdout, workers, seed: See `PartsDataModule`; seed: of the simulations too.
    """

    def __init__(
        self,
        prior: str | Bounds,
        forward: str | None = None,
        command: str | None = None,
        noise: Noise | None = None,
        reference: str | None = None,
        log_likelihood: str | None = None,
        missing: float | None = None,
        trials: int | list[int] | None = None,
        n: int = 10_000,
        n_test: int = 1_000,
        parameters: list[str] | None = None,
        observables: list[str] | None = None,
        support: list[list[float | None]] | None = None,
        batch_size: int = 128,
        holdout: float = 0.1,
        workers: int = 0,
        failures: float = runs.ALLOWED,
        processes: int | None = None,
        array: str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        seed: int = 0,
    ) -> None:
        array = check_choice("array", array, ARRAYS)
        self._prior = Prior(prior)
        self._trial = self._prior.draw(4, [0, _TRIAL, _PRIOR])[: trial_rows(self._prior.dims)]
        self.missing = check_missing(missing, trials)
        most = None if trials is None else self.missing.trials[1]
        parameters = self._prior.names if parameters is None else parameters
        if (forward is None) == (command is None):
            raise InnflowError("data.forward, data.command: give one of them")
        if command is not None:
            named = names_of("parameters", parameters, None, self._prior.dims)
            self._model: ForwardModel = CommandModel(command, named, self._trial, most)
        else:
            self._model = ForwardModel(str(forward), self._trial, array, most)
        self.y_shape = self._model.shape
        super().__init__((self._prior.dims,), batch_size, holdout, workers, seed)
        self.prior = self._prior.value
        self.n = check_whole("n", n, 2)
        self.n_test = check_whole("n_test", n_test, 1)
        self.check_memory(n=n, n_test=n_test)
        self.failures = 0.0 if failures == 0 else check_fraction("failures", failures)
        self.processes = None if processes is None else check_whole("processes", processes, 0)
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self._single = noise_factor(noise, self._model.dims // (most or 1))
        self._factor = self._single
        if self._single is not None:
            self._factor = np.kron(np.eye(most or 1), self._single)
            self.noise = self._noise_there = torch.from_numpy(self._factor).float()
        if reference is not None:
            check_reference(reference)
            self.reference_path = reference
            known = (reference, self._prior.dims, self._single, most)
            self.reference = partial(draw_reference, *known)
        self._likelihood: Likelihood | None = None
        if log_likelihood is not None:
            self._likelihood = Likelihood(log_likelihood, self._model, self._trial)
        module = self._model.imported.module
        self._columns = {
            "x": names_of("parameters", parameters, module, self._prior.dims),
            "y": names_of("observables", observables, module, self._model.dims // (most or 1)),
        }
        if most is not None:
            names = self._columns["y"]
            self._columns["y"] = [f"{one} {i}" for i in range(1, most + 1) for one in names]
        if support is None:
            self.support = support_of(self._prior.value, self._prior.dims)
        else:
            self.support = given_support(support, self._prior.dims)

    @cached_property
    def deterministic(self) -> bool:
        """Whether y is a function of x alone: no declared noise, and none found in a few runs."""
        return self._factor is None and self._repeatable

    @cached_property
    def _repeatable(self) -> bool:
        x = self._prior.draw(_FEW, [0, _TRIAL, _PRIOR])
        once, again = (self._without_noise(x, seed).nan_to_num() for seed in (0, 1))
        return torch.equal(once, again)

    def forward(self, x: Tensor) -> Tensor:
        """Return data (B, M) without declared noise for parameters (B, P), float32 on the CPU."""
        return self._model(x)

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        """Return data (B, M) with fresh noise for parameters (B, P), perhaps NaN."""
        y = self._without_noise(x, seed)
        if self._factor is None:
            return y
        return add_noise(y, self._factor, draw_noise(y.shape, [seed, _FRESH, _NOISE]))

    def _without_noise(self, x: Tensor, seed: int) -> Tensor:
        x = x.detach().cpu().float()
        return runs.simulate(self._model, x, [seed, _FRESH, _MODEL], self.processes, allowed=1.0)

    def log_joint(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        """Return log p(x) + log p(y | x) of data y (M,); see `InverseData.log_joint`.

        The likelihood is `log_likelihood` or, for a forward model without noise of its own, that of
        the declared noise.
        """
        y = y.detach().cpu().float()
        factor, likelihood = self._factor, self._likelihood
        there = y.isfinite()
        if factor is not None and not bool(there.all()):
            covariance = (factor @ factor.T)[there][:, there]
            factor = np.linalg.cholesky(covariance)
        if likelihood is not None and factor is not None:
            raise InnflowError(
                "data.log_likelihood is that of data without the declared data.noise: leave one out"
            )
        if likelihood is None and (factor is None or not self._repeatable):
            raise InnflowError(
                "the data have no known likelihood: train with data.log_likelihood=module.function,"
                " or with a forward model without noise and data.noise"
            )
        self._prior.log_prob(self._trial)  # raises where there is none

        def log_joint(x: Tensor) -> Tensor:
            x = x.detach().cpu().float()
            found = self._prior.log_prob(x)
            inside = self.support.contains(x).all(dim=1) & found.isfinite()
            found[~inside] = -torch.inf
            if likelihood is not None:
                found[inside] += likelihood(y, x[inside])
            elif factor is not None and inside.any():
                residual = (y.double() - self._without_noise(x[inside], 0).double())[:, there]
                found[inside] += noise_log_prob(residual, factor)
            return found

        return log_joint

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the simulations, from the cache where it has them.

        Raises:
            InnflowError: The forward model fails, or a parameter is constant or not in the support.
        """
        train = PartsSet.numbered("train", "train", self._parts(self.n, _TRAIN))
        test = PartsSet.numbered("test", "inlier", self._parts(self.n_test, _TEST))
        check_varied(train.parts["x"], self._columns["x"], "all draws from the prior")
        sets = make_sets(train, test, self.holdout, self.seed, f"data.n={self.n}")
        return self.hide_missing(sets)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Draw fresh noise for a training batch on its device."""
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        if self.noise is None or not self.is_training:
            return batch
        eps = batch["eps"]
        with self.shared_draws():
            fresh = randn(eps.shape, batch_axis=0, dtype=eps.dtype, device=eps.device)
        self._noise_there = self._noise_there.to(fresh)
        y = batch["y"] + (fresh - eps) @ self._noise_there.T
        return {**batch, "y": y, "eps": fresh}

    def _parts(self, n: int, stream: int) -> Batch:
        made = self._simulations(n, stream)
        if made.dropped:
            announce(
                f"{made.dropped:,} of {n:,} simulations are not finite (NaN or infinite) and are "
                "left out"
            )
        self.support.check(made.x, self.columns["x"])
        if self._factor is None:
            return {"x": made.x, "y": made.y}
        eps = draw_noise(made.y.shape, [self.seed, stream, _NOISE])
        return {"x": made.x, "y": add_noise(made.y, self._factor, eps), "eps": eps}

    def _simulations(self, n: int, stream: int) -> runs.Simulations:
        file = None if self.cache_dir is None else self.cache_dir / f"{self._key(n, stream)}.npz"
        found = None if file is None else runs.read_simulations(file)
        if found is not None:
            return found
        x = self._prior.draw(n, [self.seed, stream, _PRIOR])
        keep = None if file is None else file.with_suffix(".parts")
        numbers = [self.seed, stream, _MODEL]
        y = runs.simulate(self._model, x, numbers, self.processes, self.failures, keep)
        good = y.isfinite().all(dim=1)
        made = runs.Simulations(x[good], y[good], n - int(good.sum()))
        if file is not None:
            runs.write_simulations(file, made)
            shutil.rmtree(file.with_suffix(".parts"), ignore_errors=True)
        return made

    @cached_property
    def _behaviour(self) -> list[Tensor]:
        """Part of the cache key: a few draws and runs, since prior and model may depend on files.

        Results that are not reproducible under a seed are left out.
        """

        def draw() -> Tensor:
            return self._prior.draw(100, [0, _TRIAL, _PRIOR])

        def run() -> Tensor:
            with seeded([0, _TRIAL, _MODEL], self._model.imported.modules):
                return self._model(self._trial)

        return [first for act in (draw, run) if torch.equal(first := act(), act())]

    def _key(self, n: int, stream: int) -> str:
        modules = [*self._prior.modules, *self._model.imported.modules]
        paths, seed = [self._prior.path, self._model.path], [self.seed, stream]
        kind = [self._model.kind, self._model.trials]
        facts = [*self._behaviour, self._model.source]
        return runs.cache_key(modules, paths, n, seed, kind, *facts)
