"""What innflow-eval, innflow-sample and innflow-score do with a trained run."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from innflow.app import Application
from innflow.checkpoint import find_checkpoint, load
from innflow.config import as_config, build, check, one_line, to_plain
from innflow.errors import InnflowError
from innflow.progress import announce, track
from innflow.rundir import claim, write_origin

GROUPS = ("data", "analysis", "score")
BATCH = 256


def evaluate(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """innflow-eval run=DIR [data=GROUP] [data.root=DIR2] [analysis=GROUP]: test a trained run.

    Any key of the run's own config under data, analysis, score and study may be given.
    """
    from innflow.run import finish, study

    run = Path(arguments["run"])
    app = load(run, arguments["ckpt"], arguments["trust"])
    config = override(app.config, overrides)
    config["seed"] = arguments["seed"] if arguments["seed"] is not None else config["seed"]
    check({name: config[name] for name in (*GROUPS, "study")})
    data = build(config["data"], "data")
    if tuple(data.shape) != tuple(app.shape):
        raise InnflowError(
            f"data have shape {tuple(data.shape)}, the run was trained on {tuple(app.shape)}"
        )
    analyses = {
        name: build(node, f"analysis.{name}")
        for name, node in config["analysis"].items()
        if node is not None
    }
    data.prepare_data()
    data.setup()
    home = run if run.is_dir() else Path.cwd()
    out = Path(arguments["out"] or home / "eval" / time.strftime("%Y-%m-%d_%H-%M-%S")).absolute()
    move_to_device(app, arguments["device"])
    with claim(out):
        write_origin(out, config, list(overrides), str(app.device))
        metrics = study(app, data, analyses, config, out, run_dir=home)
        finish(out, metrics)
    for name, value in sorted(metrics.items()):
        if name.startswith(("test/", "bpd/")) or name.endswith("/auroc"):
            announce(f"{name}  {value:.4f}")
    announce(str(out))


def override(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a run's config with `data=GROUP` and `data.key=value` applied to it.

    Raises:
        InnflowError: for keys that the run's config lacks, or that only training reads.
    """
    cfg = as_config(config)
    ordered = sorted(overrides, key=lambda o: "." in o.split("=", 1)[0])
    for text in ordered:
        key, value = text.split("=", 1)
        head = key.split(".", 1)[0]
        if head not in (*GROUPS, "study"):
            raise InnflowError(
                f"{key}: is unknown here; takes keys under {', '.join(GROUPS)} and study"
            )
        if key in GROUPS:
            GlobalHydra.instance().clear()
            from hydra import initialize_config_module

            with initialize_config_module("innflow.conf", version_base="1.3"):
                group = compose("train", [text])
            with_struct_off = to_plain(cfg)
            with_struct_off[key] = to_plain(group)[key]
            cfg = as_config(with_struct_off)
            continue
        try:
            OmegaConf.select(cfg, key, throw_on_missing=True)
            OmegaConf.update(cfg, key, _value(value), merge=False)
        except OmegaConfBaseException as error:
            raise InnflowError(f"{text}: {one_line(error)}") from None
    return to_plain(cfg)


def _value(text: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(f"key={text}").value()


def sample(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """innflow-sample run=DIR n=64 temperature=0.8 out=DIR2: draw from a trained run.

    Images come as PNG files and one grid, vectors as samples.csv and samples.npz.
    """
    _none_left(overrides)
    n, temperature = arguments["n"], arguments["temperature"]
    if not isinstance(n, int) or n < 1:
        raise InnflowError(f"n={n}: takes a whole number of at least 1")
    if not isinstance(temperature, int | float) or temperature < 0:
        raise InnflowError(f"temperature={temperature}: takes a number of at least 0")
    run = Path(arguments["run"])
    app = load(run, arguments["ckpt"], arguments["trust"])
    move_to_device(app, arguments["device"])
    seed = arguments["seed"]
    drawn = torch.cat(
        [
            app.sample(min(BATCH, n - start), temperature, seed=seed + start).cpu()
            for start in track(range(0, n, BATCH), "sample")
        ]
    ).numpy()
    home = run if run.is_dir() else Path.cwd()
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    out = Path(arguments["out"] or home / "samples" / stamp).absolute()
    with claim(out):
        if drawn.ndim == 4:
            _write_images(drawn, out)
        else:
            _write_vectors(drawn, out)
    announce(str(out))


def _write_images(images: np.ndarray, out: Path) -> None:
    from PIL import Image

    from innflow.figure.sample import image_grid

    width = len(str(len(images) - 1))
    for number, image in enumerate(images):
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        Image.fromarray(pixels).save(out / f"{number:0{width}}.png")
    image_grid(images[:256]).savefig(out / "grid.png")


def _write_vectors(vectors: np.ndarray, out: Path) -> None:
    np.savez(out / "samples.npz", x=vectors)
    with (out / "samples.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f"x{i}" for i in range(vectors.shape[1])])
        writer.writerows(vectors.tolist())


def score(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """innflow-score run=DIR input=FOLDER|s3://bucket/prefix|IMAGE|file.csv out=scores.csv.

    Per item: path, score (higher is stranger), p_value (how likely an inlier is at least this
    strange), then every score by name. Without out= the table goes to stdout.
    """
    _none_left(overrides)
    run = Path(arguments["run"])
    app = load(run, arguments["ckpt"], arguments["trust"])
    if app.scorer is None:
        raise InnflowError(f"run={run}: has no fitted scores; takes the folder of a finished run")
    move_to_device(app, arguments["device"])
    items, names = _read(arguments["input"], app)
    columns: dict[str, list[np.ndarray]] = {}
    for start in track(range(0, len(items), BATCH), "score"):
        for name, values in app.score(items[start : start + BATCH]).items():
            columns.setdefault(name, []).append(values)
    table = {name: np.concatenate(values) for name, values in columns.items()}
    rows = zip(names, *(values.tolist() for values in table.values()), strict=True)
    header = ["path", *table]
    if arguments["out"] is None:
        _write_rows(sys.stdout, header, rows)
        return
    out = Path(arguments["out"])
    partial = out.with_name(f".{out.name}.partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            _write_rows(file, header, rows)
        partial.replace(out)
    except OSError as error:
        raise InnflowError(f"out={out}: cannot be written ({error.strerror})") from None
    announce(str(out))


def _write_rows(file: IO[str], header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows(rows)


def _read(source: str, app: Application) -> tuple[torch.Tensor, list[str]]:
    """Read images or a table of vectors, whatever the application takes."""
    if len(app.shape) == 3:
        from innflow.data.images import read_images

        channels, size, _ = app.shape
        images, names, _ = read_images(source, size, channels)
        return images, names
    from innflow.data.table import read_table

    return read_table(source, features=app.shape[0])


def move_to_device(app: Application, device: str) -> None:
    """Move an application to `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:1`."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        app.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InnflowError(f"device={device}: {str(error).splitlines()[0]}") from None


def _none_left(overrides: Sequence[str]) -> None:
    if overrides:
        raise InnflowError(f"{overrides[0].split('=')[0]} is unknown; --help shows the keys")


__all__ = ["evaluate", "find_checkpoint", "sample", "score"]
