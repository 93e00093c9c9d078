"""What innflow-eval, innflow-sample and innflow-score do with a trained run."""

from __future__ import annotations

import csv
import logging
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from torch import Tensor

from innflow.app import Application, Unconditional
from innflow.command.arguments import answer_folder, check_arguments, home, load_run, refuse_rest
from innflow.config.build import as_config, build, compose_config, to_plain
from innflow.config.message import one_line
from innflow.config.schema import check
from innflow.config.trust import check_trusted
from innflow.data.image.cache import name_first
from innflow.errors import InnflowError
from innflow.run.checkpoint import COORDINATES
from innflow.run.folder import claim, write_origin
from innflow.run.report import to_csv, write_scores
from innflow.system.npz import DAMAGE, read_arrays
from innflow.system.progress import announce, track

log = logging.getLogger(__name__)

GROUPS = ("data", "analysis", "score")
EMBEDDINGS = "innflow.data.Embeddings"
BATCH = 256


def evaluate(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """innflow-eval run=DIR [data=GROUP] [data.root=DIR2] [analysis=GROUP]: test a trained run.

    Any key of the run's own config under data, analysis, score and study may be given.
    """
    from innflow.run.train import build_analyses, check_analyses, finish, make_study, study

    check_arguments(arguments)
    app = load_run(arguments)
    if not arguments["trust"]:
        stored = {group: app.config[group] for group in GROUPS}
        check_trusted(stored, f"run={arguments['run']}", data=True)
    config = override(app.config, overrides)
    if arguments["seed"] is not None:
        config["seed"] = arguments["seed"]
    check({name: config[name] for name in GROUPS})
    data = build(config["data"], "data")
    if tuple(data.shape) != tuple(app.shape):
        raise InnflowError(
            f"data have shape {tuple(data.shape)}, the run was trained on {tuple(app.shape)}"
        )
    analyses = build_analyses(config)
    _follow(data, arguments)
    data.prepare_data()
    case = make_study(app, data, config, home(arguments))
    check_analyses(analyses, case)
    out = answer_folder(arguments, "eval")
    with claim(out, key="out"):
        write_origin(out, config, overrides, str(app.device))
        metrics = study(app, case, analyses, out)
        finish(out, metrics)
    for name, value in sorted(metrics.items()):
        if name.startswith(("test/", "bpd/", "posterior/")) or name.endswith("/auroc"):
            announce(f"{name}  {value:.4f}")
    announce(str(out))


def override(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a run's config with `data=GROUP` and `data.key=value` applied to it.

    Raises:
        InnflowError: for keys that the run's config lacks, or that only training reads.
    """
    result = dict(config)
    parser = OverridesParser.create()
    for parsed in (parser.parse_override(text) for text in overrides):
        if parsed.key_or_group in GROUPS:
            composed = compose_config("train", [str(parsed.input_line), f"seed={config['seed']}"])
            result[parsed.key_or_group] = to_plain(composed)[parsed.key_or_group]
    for parsed in (parser.parse_override(text) for text in overrides):
        key = parsed.key_or_group
        if key in GROUPS:
            continue
        if key.split(".", 1)[0] not in (*GROUPS, "study") or key == "study":
            raise InnflowError(
                f"{key} is unknown here; takes keys under {', '.join(GROUPS)} and study, and "
                "those that --help shows"
            )
        cfg = as_config(result)
        try:
            OmegaConf.update(cfg, key, parsed.value(), merge=False)
        except OmegaConfBaseException as error:
            raise InnflowError(f"{parsed.input_line}: {one_line(error)}") from None
        result = to_plain(cfg)
    return result


def sample(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """innflow-sample run=DIR n=64 temperature=0.8 out=DIR2: draw from a trained run.

    Images come as PNG files and one grid, vectors as samples.csv and samples.npz.
    """
    refuse_rest(overrides)
    check_arguments(arguments)
    n, temperature, seed = arguments["n"], arguments["temperature"], arguments["seed"] or 0
    app = _ask_about_x(arguments)
    drawn = torch.cat(
        [
            app.sample(min(BATCH, n - start), temperature, seed=seed + start).cpu()
            for start in track(range(0, n, BATCH), "sample")
        ]
    )
    out = answer_folder(arguments, "samples")
    with claim(out, key="out"):
        (_write_images if drawn.dtype == torch.uint8 else _write_vectors)(drawn, out)
    announce(str(out))


def _write_images(images: Tensor, out: Path) -> None:
    from torchvision.utils import make_grid

    digits = len(str(len(images) - 1))
    for number, image in enumerate(images):
        _write_png(image, out / f"{number:0{digits}}.png")
    shown = images[:256]
    _write_png(make_grid(shown, nrow=math.ceil(math.sqrt(len(shown)))), out / "grid.png")


def _write_png(image: Tensor, path: Path) -> None:
    Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy()).save(path)


def _write_vectors(vectors: Tensor, out: Path) -> None:
    np.savez(out / "samples.npz", x=vectors.numpy())
    with (out / "samples.csv").open("w", newline="") as file:
        rows = vectors.flatten(1)
        _write_rows(file, [f"x{i}" for i in range(rows.shape[1])], rows.tolist())


def score(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """innflow-score run=DIR input=FOLDER|s3://bucket/prefix|IMAGE|file.csv out=scores.csv.

    Per item: path, score (higher is stranger), p_value (how likely an inlier is at least this
    strange), then every score by name. Without out= the table goes to stdout.
    """
    refuse_rest(overrides)
    check_arguments(arguments)
    out = None if arguments["out"] is None else Path(arguments["out"])
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise InnflowError(f"out={out}: takes a file in a folder that exists")
    app = _ask_about_x(arguments)
    if app.scorer is None:
        raise InnflowError(
            f"run={arguments['run']}: has no fitted scores; takes the folder of a finished run"
        )
    items, names = _read(app, arguments)
    batches = [
        app.score(items[start : start + BATCH])
        for start in track(range(0, len(items), BATCH), "score")
    ]
    table = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    table = {"path": np.array(names, dtype=object), **table}
    if out is None:
        sys.stdout.write(to_csv(table))
        return
    try:
        write_scores(table, out)
    except OSError as error:
        raise InnflowError(f"out={out}: cannot be written ({error.strerror})") from None
    announce(str(out))


def _write_rows(file: IO[str], header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows(rows)


def _read(app: Application, arguments: Mapping[str, Any]) -> tuple[Tensor, list[str]]:
    """Read images, their features, or a table of vectors, whatever the application takes."""
    source, settings = arguments["input"], app.config["data"]
    if settings.get("_target_") == EMBEDDINGS:
        from innflow.data.image.storage import read_images

        if not arguments["trust"]:
            check_trusted({"data": settings}, f"run={arguments['run']}", data=True)
        data = build(settings, "data")
        if not _follow(data, arguments):
            raise InnflowError(
                f"run={arguments['run']}: has no {COORDINATES}, which says how features become x; "
                "takes the folder of a finished run"
            )
        images, names, skipped = read_images(source, settings["size"], 3)
        _tell(skipped)
        return data.embed(images), names
    if len(app.shape) == 3:
        from innflow.data.image.storage import read_images

        channels, size, _ = app.shape
        images, names, skipped = read_images(source, size, channels)
        _tell(skipped)
        return images, names
    from innflow.data.table.files import read_table

    return read_table(source, settings.get("columns"), settings.get("label"))


def _tell(skipped: Sequence[str]) -> None:
    """Say on stderr, stdout may hold the table, which images it lacks."""
    if skipped:
        line = f"{len(skipped):,} left out, they cannot be decoded: {name_first(skipped)}"
        log.warning("%s", one_line(ValueError(line)))


def _follow(data: Any, arguments: Mapping[str, Any]) -> bool:
    """Give a data module the coordinates of the run, where it has some; return whether it had."""
    path = home(arguments) / COORDINATES
    if not path.is_file():
        return False
    try:
        data.load_state(read_arrays(path))
    except DAMAGE as error:
        raise InnflowError(f"{path}: damaged, or not of this run ({one_line(error)})") from None
    return True


def _ask_about_x(arguments: Mapping[str, Any]) -> Unconditional:
    app = load_run(arguments)
    if not isinstance(app, Unconditional):
        raise InnflowError(
            f"run={arguments['run']}: its parameters depend on observed data; innflow-posterior "
            f"run={arguments['run']} y=FILE draws them"
        )
    return app
