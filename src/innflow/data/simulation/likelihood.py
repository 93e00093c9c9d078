"""A user's log-likelihood by import path."""

from typing import Any

import torch
from torch import Tensor

from innflow.data.simulation.forward import ForwardModel
from innflow.data.simulation.imports import Lazy, describe, user_code
from innflow.errors import InnflowError


class Likelihood(Lazy):
    """A function of data (M,) and parameters (B, P) that returns log p(y | x), (B,) in nats.

    It is called with arguments of the type that the forward model takes.

    Args:
        path: Import path of the function.
        model: The forward model of the same data.
        rows: Parameters (R, P) for a check on simulated data.

    Raises:
        InnflowError: It cannot be imported or called, or does not return one number for each row.
    """

    key = "data.log_likelihood"

    def __init__(self, path: str, model: ForwardModel, rows: Tensor) -> None:
        self.path, self._model = path, model
        self(model(rows)[0], rows)

    def __call__(self, y: Tensor, x: Tensor) -> Tensor:
        """Return log p(y | x) in nats (B,), float64, of data (M,) and parameters (B, P).

        NaN counts as -inf, as of parameters outside the model's domain. Trials are independent: the
        function is called for each that is not missing.

        Raises:
            InnflowError: The function raises, or does not return numbers (B,) below infinity, or a
                part of the data is missing.
        """
        trials = y.reshape(self._model.trials or 1, -1)
        trials = trials[~trials.isnan().all(dim=1)]
        if bool(trials.isnan().any()):
            raise InnflowError(f"{self.key}={self.path}: unknown for data with missing values")
        return torch.stack([self._of_one(one, x) for one in trials]).sum(dim=0)

    def _of_one(self, y: Tensor, x: Tensor) -> Tensor:
        where = f"data.log_likelihood={self.path}"
        given: list[Any] = [part.detach().cpu().float() for part in (y, x)]
        if self._model.kind == "numpy":
            given = [part.double().numpy() for part in given]
        try:
            with user_code():
                found = torch.as_tensor(self.imported.value(*given), dtype=torch.float64)
        except Exception as error:
            raise InnflowError(f"{where}: raises {describe(error)}") from error
        if found.shape != (len(x),):
            raise InnflowError(
                f"{where}: given data {tuple(y.shape)} and parameters {tuple(x.shape)}, it returns "
                f"the shape {tuple(found.shape)}, expected ({len(x)},)"
            )
        if found.isposinf().any():
            raise InnflowError(f"{where}: returns infinity")
        return found.detach().cpu().nan_to_num(nan=-torch.inf, neginf=-torch.inf)
