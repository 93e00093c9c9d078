"""Programs of an application as files that run without innflow: ONNX, or torch.export."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from innflow.app.program import Program
from innflow.config.message import one_line
from innflow.errors import InnflowError

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
"""File name endings by format."""
TOLERANCE = 1e-4
"""Largest error of a file, relative to the largest absolute value of the output, 1 at least."""
BATCH = "batch"

ERFC = (
    *(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806),
    *(0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277),
)
"""Coefficients of a polynomial in `_erfc`."""

Outputs = dict[str, np.ndarray]


def need_packages(form: str) -> None:
    """Raise if the packages for a format are not installed."""
    try:
        for name in ("onnx", "onnxscript", "onnxruntime") if form == "onnx" else ():
            import_module(name)
    except ImportError as error:
        raise InnflowError(
            f"format={form}: {error.name} is not installed; pip install 'innflow[export]'"
        ) from None


def write_program(program: Program, path: Path, form: str) -> float:
    """Write one program and compare the file with the program itself; return the largest error.

    Args:
        program: of `innflow.app.program.make_programs`.
        path: file to write.
        form: "onnx" or "torch".

    Returns:
        The largest error relative to the scale of its output, see `TOLERANCE`.

    Raises:
        InnflowError: if a layer cannot be exported, or the error is above `TOLERANCE`.
    """
    inputs = tuple(program.inputs.values())
    with torch.no_grad(), _one_line(path), _quiet():
        names = list(program.module(*inputs))
        traced = trace(program.module, inputs)
        if form == "onnx":
            options: dict[str, Any] = {"input_names": list(program.inputs), "output_names": names}
            exported: Any = torch.onnx.export(traced, dynamo=True, verbose=False, **options)
            exported.save(str(path))
        else:
            torch.export.save(traced, str(path))
        run = open_program(path, names)
        errors = [_compare(program, run, count) for count in (len(inputs[0]), 1)]
    error = max(errors)
    if not error <= TOLERANCE:
        raise InnflowError(
            f"{path.name}: differs from the run by {error:.1e} of the largest value, more than "
            f"{TOLERANCE}: not written; the flow is too ill-conditioned for single precision"
        )
    return error


def open_program(path: Path, names: Sequence[str]) -> Callable[[Mapping[str, Tensor]], Outputs]:
    """Return a file of `write_program` as a function of its inputs by name.

    Args:
        path: the file.
        names: of its outputs.
    """
    if path.suffix == SUFFIXES["onnx"]:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

        def run(inputs: Mapping[str, Tensor]) -> Outputs:
            given = {name: values.numpy() for name, values in inputs.items()}
            return dict(zip(names, session.run(list(names), given), strict=True))

        return run
    module = torch.export.load(str(path)).module()

    def call(inputs: Mapping[str, Tensor]) -> Outputs:
        with torch.no_grad():
            found = module(*inputs.values())
        return {name: found[name].numpy() for name in names}

    return call


def trace(module: nn.Module, inputs: Sequence[Tensor]) -> torch.export.ExportedProgram:
    """Return the exported program of a module with a batch axis of any length.

    All that depends on the weights alone is computed once and stored: inverses of matrices, for
    which ONNX has no operator, their determinants, and scales.
    """
    arguments = tuple(inputs)
    shapes = tuple({0: torch.export.Dim(BATCH)} for _ in arguments)
    exported = torch.export.export(module, arguments, dynamic_shapes=shapes, strict=True)
    folded = _fold(exported.run_decompositions(_decompositions()).module())
    return torch.export.export(folded, arguments, dynamic_shapes=shapes)


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Return PyTorch's decompositions, and those of operators that ONNX lacks."""
    aten = torch.ops.aten
    table: dict[Any, Callable[..., Any]] = dict(torch.export.default_decompositions())
    table[aten.linalg_solve_triangular.default] = _solve_triangular
    table[aten.linalg_solve.default] = _solve
    table[aten.special_ndtri.default] = _ndtri
    table[aten.erf.default] = _erf
    table[aten.erfc.default] = _erfc
    return table


def _solve_triangular(
    factor: Tensor, values: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    if unitriangular:
        factor = factor - factor.diagonal().diag() + torch.eye(len(factor)).to(factor)
    inverse = torch.linalg.inv(factor.triu() if upper else factor.tril())
    return inverse @ values if left else values @ inverse


def _solve(matrix: Tensor, values: Tensor, *, left: bool = True) -> Tensor:
    inverse = torch.linalg.inv(matrix)
    return inverse @ values if left else values @ inverse


def _ndtri(share: Tensor) -> Tensor:
    """Return the quantile of the standard normal by two steps of Halley's method.

    They start from a rational function with an error below 5e-4 (Abramowitz and Stegun, 26.2.23).
    """
    tail = torch.minimum(share, 1 - share)
    t = (-2 * tail.log()).sqrt()
    numerator = 2.515517 + t * (0.802853 + t * 0.010328)
    x = numerator / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t
    for _ in range(2):
        error = (0.5 * _erfc(-x / 2**0.5) - tail) * (2 * torch.pi) ** 0.5 * (x * x / 2).exp()
        x = x - error / (1 + x * error / 2)
    return torch.where(share < 0.5, x, -x)


def _erf(x: Tensor) -> Tensor:
    return 1 - _erfc(x) if x.dtype == torch.float64 else NotImplemented


def _erfc(x: Tensor) -> Tensor:
    """Return erfc, which ONNX lacks in double precision, with a relative error below 1.2e-7.

    From Press et al., "Numerical Recipes in C", 2nd edition, section 6.2.
    """
    t = 1 / (1 + x.abs() / 2)
    power = torch.full_like(t, ERFC[-1])
    for coefficient in reversed(ERFC[:-1]):
        power = power * t + coefficient
    tail = t * (power - x * x).exp()
    return torch.where(x >= 0, tail, 2 - tail)


def _fold(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Replace each value that depends on no input by a stored tensor."""
    known: dict[torch.fx.Node, Any] = {}
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            known[node] = _attribute(graph, str(node.target))
        elif node.op == "call_function" and all(one in known for one in node.all_input_nodes):
            args, kwargs = torch.fx.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = node.target(*args, **kwargs)
    for node, value in known.items():
        used = [user for user in node.users if user not in known]
        if not used or not isinstance(value, Tensor):
            continue
        name = f"stored_{node.name}"
        graph.register_buffer(name, value.detach().clone())
        with graph.graph.inserting_before(node):
            stored = graph.graph.get_attr(name)
        for user in used:
            user.replace_input_with(node, stored)
    for node in reversed(known):
        if not node.users:  # checks of errors too, which count as side effects
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def _compare(program: Program, run: Callable[[Mapping[str, Tensor]], Outputs], count: int) -> float:
    """Return the largest error of a file for the first items of the example inputs."""
    inputs = {name: values[:count] for name, values in program.inputs.items()}
    expected = program.module(*inputs.values())
    found = run(inputs)
    errors = []
    for name, values in expected.items():
        wanted = values.double().numpy()
        scale = max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)))
        with np.errstate(invalid="ignore"):
            error = np.abs(found[name].astype(np.float64) - wanted)
        same = np.isclose(found[name], wanted, rtol=0, atol=0, equal_nan=True)
        error = np.where(same, 0.0, error - program.steps.get(name, 0.0))
        errors.append(float(error.max()) / scale)
    return max(0.0, *errors)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Raise the errors of the exporters as one line."""
    try:
        yield
    except (InnflowError, OSError):
        raise
    except Exception as error:  # the exporters have many types, and no common base
        logging.getLogger(__name__).debug("the export failed here", exc_info=True)
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise InnflowError(f"{path.name}: cannot be exported: {one_line(cause)[:300]}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress and warnings of the exporters off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
