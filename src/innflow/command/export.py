"""innflow-export: write a trained run as files that need no innflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from innflow.app import Application
from innflow.app.program import Program, list_left_out, make_programs
from innflow.command.arguments import check_arguments, load_run, output_folder
from innflow.command.overview import VERSION
from innflow.errors import InnflowError
from innflow.run.export import SUFFIXES, need_packages, write_program
from innflow.run.folder import claim
from innflow.system.file.atomic import write_json
from innflow.system.progress import announce, track

CARD = "card.json"
"""File that describes inputs and outputs of the programs."""


def export(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Write the programs of a run, each compared with the run, and a card of them."""
    check_arguments(arguments, overrides)
    form = arguments["format"]
    need_packages(form)
    app = load_run({**arguments, "device": "cpu"})
    try:
        programs = make_programs(app)
    except InnflowError as error:
        raise InnflowError(f"run={arguments['run']}: cannot be exported: {error}") from None
    left_out = list_left_out(app)
    out = output_folder(arguments, "export")
    with claim(out, key="out"):
        try:
            with TemporaryDirectory(prefix=".partial-", dir=out) as folder:
                partial = Path(folder)
                errors = {
                    name: write_program(program, partial / f"{name}{SUFFIXES[form]}", form)
                    for name, program in track(list(programs.items()), "export")
                }
                card = _card(app, programs, errors, left_out)
                write_json(partial / CARD, {**card, "run": str(arguments["run"]), "format": form})
                for path in list(partial.iterdir()):
                    path.rename(out / path.name)
        except OSError as error:
            raise InnflowError(f"out={out}: cannot be written ({error.strerror})") from None
    for name, size in errors.items():
        announce(f"{name}{SUFFIXES[form]}  largest error {size:.1e}")
    if left_out:
        announce(
            f"left out: {', '.join(left_out)}: they are not functions of tensors; innflow-score "
            "and innflow-serve have them"
        )
    announce(str(out))


def _card(
    app: Application,
    programs: Mapping[str, Program],
    errors: Mapping[str, float],
    left_out: Sequence[str],
) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name, program in programs.items():
        with torch.no_grad():
            outputs = program.module(*program.inputs.values())
        described[name] = {
            side: {
                key: {
                    "shape": ["batch", *values.shape[1:]],
                    "type": str(values.dtype).removeprefix("torch."),
                    "meaning": program.meaning.get(key, "anomaly score, or its p-value NAME_p"),
                }
                for key, values in tensors.items()
            }
            for side, tensors in (("inputs", program.inputs), ("outputs", outputs))
        }
        described[name]["largest_error"] = errors[name]
    return {
        "innflow": VERSION,
        "name": app.config.get("name"),
        "application": type(app).__name__,
        "partition": str(app.partition),
        "columns": app.columns,
        "left_out": list(left_out),
        "programs": described,
    }
