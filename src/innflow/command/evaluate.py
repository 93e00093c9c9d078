"""innflow-eval: test a trained run, optionally on other data and with other analyses."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from innflow.analysis.data import build_data
from innflow.command.arguments import (
    check_arguments,
    load_run,
    output_folder,
    run_folder,
)
from innflow.config.build import as_config, build_group, compose_config, to_plain
from innflow.config.message import one_line
from innflow.config.places import confine
from innflow.config.schema import check
from innflow.config.sizes import check_sizes
from innflow.config.trust import check_trusted
from innflow.errors import InnflowError
from innflow.run.evaluate import build_study, run_analyses, write_results
from innflow.run.features import restore_coordinates
from innflow.run.folder import claim, write_origin
from innflow.run.report.headline import warn_of_calibration
from innflow.system.progress import announce
from innflow.system.secret import refuse_revealed
from innflow.system.signature import is_signed

GROUPS = ("data", "analysis", "score")
"""Nodes of a run's config that can be replaced."""


def evaluate(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Analyse a trained run, its config overridden, and write metrics, figures and a report."""
    check_arguments(arguments)
    app = load_run(arguments)
    where = f"run={arguments['run']}"
    missing = [name for name in (*GROUPS, "study", "seed") if name not in app.config]
    if missing:
        raise InnflowError(f"{where}: its config lacks {', '.join(missing)}")
    stored = {group: app.config[group] for group in GROUPS}
    if not arguments["trust"]:
        check_trusted(stored, where, data=True)
    config = override(app.config, overrides)
    if not arguments["trust"] and not is_signed(app.signature, app.config):
        replaced = {text.partition("=")[0] for text in overrides}  # by innflow's own groups
        kept = {group: config[group] for group in GROUPS if group not in replaced}
        config |= confine(kept, where, run_folder(arguments), overrides)
    if arguments["seed"] is not None:
        config["seed"] = arguments["seed"]
    refuse_revealed(config)
    nodes = {name: config[name] for name in GROUPS}
    check(nodes)
    check_sizes(nodes)
    data = build_data(config["data"])
    data.use_columns(app.columns)
    if tuple(data.shape) != tuple(app.shape):
        raise InnflowError(
            f"data have shape {tuple(data.shape)}, the run was trained on {tuple(app.shape)}"
        )
    analyses = build_group(config["analysis"], "analysis")
    restore_coordinates(data, run_folder(arguments))
    data.prepare_data()
    study = build_study(app, data, config, run_folder(arguments), analyses)
    out = output_folder(arguments, "eval")
    with claim(out, key="out"):
        write_origin(out, config, overrides, str(app.device))
        metrics = run_analyses(study, analyses, out)
        write_results(out, metrics)
    for name, value in sorted(metrics.items()):
        shown = name.startswith(("test/", "bpd/", "posterior/")) or name.endswith("/auroc")
        if shown and not name.endswith("_centre"):  # values at bin centres are no bounds
            announce(f"{name}  {value:.4f}")
    if (warning := warn_of_calibration(metrics)) is not None:
        announce(f"warning: {warning}")
    announce(str(out))


def override(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a run's config with overrides `data=GROUP` and `data.key=value` applied to it.

    Raises:
        InnflowError: for keys that the run's config lacks, or that only training uses.
    """
    result = dict(config)
    parser = OverridesParser.create()
    parsed = [parser.parse_override(text) for text in overrides]
    for each in sorted(parsed, key=lambda each: each.key_or_group not in GROUPS):  # groups first
        key = each.key_or_group
        if key in GROUPS:
            composed = compose_config("train", [str(each.input_line), f"seed={config['seed']}"])
            result[key] = to_plain(composed)[key]
            continue
        if key.split(".", 1)[0] not in (*GROUPS, "study") or key == "study":
            raise InnflowError(
                f"{key} is unknown here; give keys under {', '.join(GROUPS)} and study, and "
                "those that --help shows"
            )
        cfg = as_config(result)
        try:
            OmegaConf.update(cfg, key, each.value(), merge=False)
        except OmegaConfBaseException as error:
            raise InnflowError(f"{each.input_line}: {one_line(error)}") from None
        result = to_plain(cfg)
    return result
