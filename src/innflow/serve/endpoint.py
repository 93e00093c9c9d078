"""What each address of the server computes, and what it takes."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.app import Application, Classification, Generation, Inverse, Unconditional
from innflow.app.inputs import to_vectors
from innflow.errors import InnflowError
from innflow.serve.batching import Arrays

Prepared = tuple[Callable[..., Arrays], Tensor | None]
"""A function and the items that it is called with, see `Batcher.submit`."""
MOST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Endpoint:
    """One address.

    Attributes:
        takes: field -> what it is, for the card.
        make: maps the fields, of which unknown ones are refused, to what is to be called.
    """

    takes: Mapping[str, str]
    make: Callable[[Mapping[str, Any]], Prepared]

    def prepare(self, fields: Mapping[str, Any]) -> Prepared:
        """Return what is to be called for the fields of a request.

        Raises:
            InnflowError: if a field is unknown, missing or not valid.
        """
        for name in fields:
            if name not in self.takes:
                close = difflib.get_close_matches(name, self.takes, n=1)
                hint = f"; did you mean {close[0]}?" if close else "."
                known = ", ".join(self.takes)
                raise InnflowError(f"{name} is unknown{hint} The fields are {known}")
        return self.make(fields)


def make_endpoints(app: Application, rows: int, draws: int) -> dict[str, Endpoint]:
    """Return the endpoints of an application by name.

    Args:
        app: in evaluation mode.
        rows: largest number of items of a request.
        draws: largest number of random draws of a request.

    Example:
        >>> from innflow import flow
        >>> app = Unconditional(flow.vector(2, depth=2, hidden=(8,)))
        >>> endpoints = make_endpoints(app, rows=10, draws=10)
        >>> list(endpoints)
        ['log_prob', 'sample']
        >>> function, items = endpoints["log_prob"].prepare({"x": [[0.0, 1.0]]})
        >>> function(items)["log_prob"].shape
        (1,)
    """
    if isinstance(app, Inverse):
        return _inverse(app, rows, draws)
    if not isinstance(app, Unconditional):
        raise InnflowError(f"{type(app).__name__} has nothing to serve")
    return _unconditional(app, rows, draws)


def _unconditional(app: Unconditional, rows: int, draws: int) -> dict[str, Endpoint]:
    shape = ", ".join(map(str, app.shape))
    pictures = "; or a picture as the body, or pictures as a form" if len(app.shape) == 3 else ""
    takes = {"x": f"data (B, {shape}), at most {rows} items{pictures}"}

    def items(fields: Mapping[str, Any]) -> Tensor:
        data = app.to_data(_array(fields, "x"))
        _within("x", len(data), rows)
        return data

    functions: dict[str, Callable[[Tensor], Arrays]] = {
        "log_prob": lambda x: {"log_prob": app.log_prob(x).cpu().numpy()}
    }
    if app.scorer is not None:
        functions["score"] = app.score
    if isinstance(app, Classification):
        functions["classify"] = lambda x: {"class_probability": app.classify(x).cpu().numpy()}

    def joined(function: Callable[[Tensor], Arrays]) -> Endpoint:
        return Endpoint(takes, lambda fields: (function, items(fields)))

    def draw(fields: Mapping[str, Any]) -> Prepared:
        n, seed = _integer(fields, "n", 1, 1, draws), _integer(fields, "seed", None, 0, MOST_SEED)
        temperature = fields.get("temperature", 1.0)
        if not _is_number(temperature):
            raise InnflowError(f"temperature={temperature}: must be a number of at least 0")
        chosen: dict[str, Any] = {}
        if fields.get("label") is not None:
            chosen["label"] = _integer(fields, "label", None, 0, MOST_SEED)
        if isinstance(app, Generation):
            chosen["exact"] = fields.get("exact", False)
            if not isinstance(chosen["exact"], bool):
                raise InnflowError(f"exact={chosen['exact']}: must be true or false")
        call = partial(app.sample, n, temperature, seed, **chosen)
        return lambda: {"x": call().cpu().numpy()}, None

    drawn = {
        "n": f"number of samples, at most {draws}",
        "temperature": "factor on the standard deviation of the latent",
        "seed": "of the samples",
    }
    if isinstance(app, Classification):
        drawn["label"] = "class, 0 for the first"
    if isinstance(app, Generation):
        drawn["exact"] = "true: from the density of the flow, not from the distribution of latents"
    found = {name: joined(function) for name, function in functions.items()}
    return {**found, "sample": Endpoint(drawn, draw)}


def _inverse(app: Inverse, rows: int, draws: int) -> dict[str, Endpoint]:
    size = len(app.y_units.mean)

    def matrix(fields: Mapping[str, Any], part: str, features: int) -> Tensor:
        names = app.feature_names(part, features)
        missing = part == "y" and app.accepts_missing
        found = to_vectors(_array(fields, part, missing), names, False, part, missing=missing)
        _within(part, len(found), rows)
        return found.to(app.device, app.parameter_dtype)

    def posterior(fields: Mapping[str, Any]) -> Prepared:
        y = matrix(fields, "y", size)
        n, seed = _integer(fields, "n", 1000, 1, draws), _integer(fields, "seed", 0, 0, MOST_SEED)
        _within("n for all rows of y", n * len(y), draws)

        def call() -> Arrays:
            found = [app.posterior(row, n, seed + i) for i, row in enumerate(y)]
            misspecification_p = app.misspecification_p(y).cpu().numpy()
            x = torch.stack(found).cpu().numpy()
            return {"x": x, "misspecification_p": misspecification_p}

        return call, None

    def density(joined: Tensor) -> Arrays:
        x, y = joined.split((app.shape[0], size), dim=1)
        return {"log_prob": app.log_prob(x, y).cpu().numpy()}

    def log_prob(fields: Mapping[str, Any]) -> Prepared:
        x, y = matrix(fields, "x", app.shape[0]), matrix(fields, "y", size)
        if len(x) != len(y):
            raise InnflowError(f"x has {len(x)} rows, y has {len(y)}: give the same number")
        return density, torch.cat((x, y), dim=1)

    absent = ", null where a value is missing" if app.accepts_missing else ""
    observed = {"y": f"observed data (B, {size}) or ({size},), at most {rows} rows{absent}"}
    takes = {
        **observed,
        "n": f"draws for each row of y, at most {draws} in all",
        "seed": "of the draws of the first row; row i has seed + i",
    }
    found = {"posterior": Endpoint(takes, posterior)}
    if "eps" not in app.partition.left:
        parameters = {"x": f"parameters (B, {app.shape[0]})", **observed}
        found["log_prob"] = Endpoint(parameters, log_prob)
    return found


def _array(fields: Mapping[str, Any], name: str, missing: bool = False) -> np.ndarray:
    """Return a field as an array of numbers; with `missing`, None becomes NaN."""
    if name not in fields:
        raise InnflowError(f"{name} is missing")
    value = fields[name]
    if isinstance(value, np.ndarray):
        return value
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        raise InnflowError(f"{name} is not an array of numbers of one length") from None
    if missing and array.dtype == object and all(v is None or _is_number(v) for v in array.flat):
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiu" or not array.size:
        raise InnflowError(f"{name} must be an array of numbers, not of {array.dtype}")
    return array if array.dtype.kind != "f" else array.astype(np.float32)


def _integer(
    fields: Mapping[str, Any], name: str, default: int | None, least: int, most: int
) -> Any:
    value = fields.get(name, default)
    if value is None and default is None:
        return None
    if not _is_number(value) or not isinstance(value, int) or not least <= value <= most:
        raise InnflowError(f"{name}={value}: must be an integer from {least} to {most}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(name: str, count: int, most: int) -> None:
    if count > most:
        raise InnflowError(f"{name}: {count:,} rows, at most {most:,} are allowed")
