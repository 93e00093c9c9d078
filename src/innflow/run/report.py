"""report.html: the results of a run on one self-contained page."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from innflow.errors import InnflowError
from innflow.run.page import embed_png, format_number, write_page
from innflow.system.record import read_json, read_yaml
from innflow.system.tree import walk

# metric -> (label, unit), the most important first.
HEADLINES = {
    "test/bpd": ("test set", "bits/dim, upper bound"),
    "train/bpd": ("training set", "bits/dim, upper bound"),
    "test/kl": ("KL(p || q)", "nats"),
    "test/nll": ("test NLL", "nats"),
    "test/integral": ("integral of the density", ""),
    "test/accuracy": ("accuracy", ""),
    "test/ece": ("expected calibration error", ""),
    "posterior/c2st": ("C2ST to the reference", "0.5 is equal"),
    "posterior/err_post_median": ("median Err_post", "MMD²"),
    "posterior/err_post_prior": ("median Err_post of prior draws", "MMD²"),
    "posterior/err_resim_median": ("median Err_resim", "squared"),
    "posterior/nltp": ("-log p of the true parameters", "nats"),
    "posterior/sbc_p": ("SBC, smallest p-value", "corrected"),
    "roundtrip/max_error": ("largest round-trip error", "data units"),
    "time/train_seconds": ("training time", "seconds"),
    "time/images_per_second": ("training speed", "items/s"),
}
MOST_HEADLINES = 8


def write_report(run_dir: Path) -> Path:
    """Write report.html from the files of a run folder, and return its path.

    Raises:
        InnflowError: if one of the files is damaged, or a figure of report.json is missing.
    """
    run_dir = Path(run_dir)
    sections = read_json(run_dir / "report.json", [])
    metrics = read_json(run_dir / "metrics.json", {})
    environment = read_json(run_dir / "environment.json", {})
    config = run_dir / "config.yaml"
    headline = str((read_yaml(config, {}).get("score") or {}).get("headline", ""))
    overrides = read_yaml(run_dir / "overrides.yaml", [])
    if not isinstance(overrides, list):
        raise InnflowError(f"{run_dir / 'overrides.yaml'}: should be a list of overrides")
    folder = run_dir.resolve().name
    named = {key: environment.get(key) for key in ("device", "seed", "commit")}
    origin = [f"{key} {value}" for key, value in named.items() if value is not None]
    files = [figure["file"] for section in sections for figure in section["figures"]]
    page = run_dir / "report.html"
    write_page(
        page,
        "report.html.j2",
        title=_find_experiment(overrides) or folder,
        origin=["innflow", folder, *origin],
        cards=_choose_cards(metrics, headline)[:MOST_HEADLINES],
        sections=sections,
        images={file: _embed(run_dir / file) for file in files},
        command=shlex.join(["innflow-train", *map(str, overrides)]),
        metrics=[(name, format_number(value)) for name, value in metrics.items()],
        environment=[row for row in walk(environment) if not isinstance(row[1], Mapping)],
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
    )
    return page


def _choose_cards(metrics: Mapping[str, float], headline: str) -> list[tuple[str, str, float, str]]:
    """Return (metric, label, value, unit) of the metrics at the top of a report.

    The AUROC of the headline score follows the likelihoods.
    """
    area = f"ood/{headline}/mean/auroc"
    labels = {key: HEADLINES[key] for key in ("test/bpd", "train/bpd")}
    labels |= {area: (f"mean AUROC, {headline.replace('_', ' ')}", "")} | HEADLINES
    if "test/bpd" in metrics:
        del labels["test/nll"]
    return [(k, label, metrics[k], unit) for k, (label, unit) in labels.items() if k in metrics]


def _embed(path: Path) -> str:
    if not path.is_file():
        raise InnflowError(f"{path}: this figure of report.json is missing")
    return embed_png(path.read_bytes())


def _find_experiment(overrides: Sequence[Any]) -> str | None:
    pairs = (str(override).lstrip("+").partition("=") for override in overrides)
    return next((value for key, _, value in pairs if key == "experiment"), None)
