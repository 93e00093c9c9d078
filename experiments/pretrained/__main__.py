"""Make the flows of `innflow.pretrained`.

    python -m experiments.pretrained make NAME [KEY=VALUE ...]
    python -m experiments.pretrained pack NAME run=DIR [to=DIR]

`make` trains a flow by innflow-train, with further arguments of that command, and packs it.
`pack` packs a finished run into `to`, by default the folder of the package.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from innflow.config.places import is_place
from innflow.errors import InnflowError
from innflow.run.attached import attach_files
from innflow.run.features import COORDINATES
from innflow.run.load import SCORES
from innflow.run.pretrained import FOLDER, SUFFIX, pack
from innflow.run.report.headline import choose_headlines
from innflow.system.file.record import read_json, read_yaml

RUNS = Path("outputs/pretrained")


class Recipe(NamedTuple):
    """How a flow is trained, and what its card states about it."""

    arguments: Sequence[str]
    data: str
    licence: str
    not_for: str


# The scores of which the largest parts, training items, would be stored, are left out.
FEATURES = (
    *("data.components=192", "model.depth=4"),
    *("score.scores.mahalanobis=null", "score.scores.neighbours=null"),
    *("score.scores.latent_neighbours=null", "score.scores.combined=null"),
)
RECIPES = {
    "drawn32": Recipe(
        ("+experiment=general", "data=simshapes", "trainer.max_time=00:00:36:00"),
        "10,000 drawn shapes of random outline and material at 32x32, by innflow.data.SimShapes; "
        "no cats, dogs, beach balls or flowers",
        "Apache-2.0, as innflow",
        "photographs; it is a general model for drawings by innflow.data.SimCats only",
    ),
    "general32": Recipe(
        ("+experiment=general", "trainer.max_time=00:01:00:00"),
        "8,982 photographs of Tiny ImageNet at 32x32, 90 classes, without n02085620 n02099601 "
        "n02106662 n02113799 n02123394 n02125311 n02129165 n07734744 n07873807 n04540053 (dogs, "
        "cats, mushroom, pizza, ball)",
        "research use only, as the terms of ImageNet",
        "commercial use; decisions about people; images other than photographs",
    ),
    "general_features": Recipe(
        ("+experiment=cats_embeddings", *FEATURES),
        "128x128 EfficientNet-Lite0 features of 8,982 photographs of Tiny ImageNet at 32x32, 90 "
        "classes, those of general32",
        "research use only, as the terms of ImageNet",
        "commercial use; decisions about people; images other than photographs of 32x32 pixels",
    ),
    "cats_features": Recipe(
        ("+experiment=cats_embeddings", *FEATURES),
        "128x128 EfficientNet-Lite0 features of 5,126 photographs of cat faces at 64x64",
        "research use only: the photographs are public research data",
        "commercial use; noise and patterns, which are not flagged; p-values are valid for cat "
        "faces of the same collection only",
    ),
    "digits8": Recipe(
        ("+experiment=digits", "trainer.max_time=00:00:10:00"),
        "scikit-learn's 8x8 digits",
        "Apache-2.0; data: UCI Optical Recognition of Handwritten Digits, CC BY 4.0",
        "reading of real digits: the writers are few and the images small",
    ),
    "arm": Recipe(
        ("+experiment=inverse_kinematics", "seed=1"),
        "2,000,000 simulations of the arm of three links (Kruse et al., arXiv:2101.10763)",
        "Apache-2.0, as innflow",
        "other arms, or positions outside of the reach of this one",
    ),
}


def main(words: Sequence[str]) -> None:
    """Do one action.

    Raises:
        InnflowError: naming the word that is unknown.
    """
    if len(words) < 2 or words[0] not in ("make", "pack") or words[1] not in RECIPES:
        known = ", ".join(RECIPES)
        raise InnflowError(f"pretrained: takes make NAME or pack NAME run=DIR; NAME is {known}")
    action, name, *others = words
    if action == "make":
        run = RUNS / name
        arguments = [*RECIPES[name].arguments, *others, f"run_dir={run}"]
        code = "from innflow.command.main import train; train()"
        if subprocess.run([sys.executable, "-c", code, *arguments], check=False).returncode:
            raise InnflowError(f"pretrained: the training of {name} has failed")
        settings = {"run": str(run)}
    else:
        settings = dict(word.partition("=")[::2] for word in others)
    if not {"run"} <= settings.keys() <= {"run", "to"}:
        raise InnflowError(f"pretrained: {' '.join(others)}: pack takes run=DIR and to=DIR")
    path = Path(settings.get("to", FOLDER)) / f"{name}{SUFFIX}"
    run = Path(settings["run"])
    names = (COORDINATES, SCORES) if (run / COORDINATES).is_file() else ()
    pack(attach_files(run, names), path, describe(name, run))
    sys.stdout.write(f"{path}\n")


def describe(name: str, run: Path) -> dict[str, object]:
    """Return the entries of the card of a finished run, without places of this machine."""
    recipe, config = RECIPES[name], read_yaml(run / "config.yaml", {})
    metrics = read_json(run / "metrics.json", {})
    environment = read_json(run / "environment.json", {})
    machine = f"{environment['device']}, {environment['threads']} of {environment['cpus']} cores"
    found = choose_headlines(metrics, (config["score"] or {}).get("headline"))
    runs = list(history(run))
    return {
        "name": name,
        "data": recipe.data,
        "licence": recipe.licence,
        "not_for": recipe.not_for,
        "command": "; then ".join(command for command, _ in runs),
        "minutes": round(sum(seconds for _, seconds in runs) / 60, 1),
        "hardware": machine,
        "seed": environment["seed"],
        "metrics": {each.key: value for each, value in found if not each.key.startswith("time/")},
    }


def history(run: Path) -> Iterator[tuple[str, float]]:
    """Yield command and seconds of training of the runs that a run started from, and its own."""
    init = read_yaml(run / "config.yaml", {})["init"]
    if init is not None and Path(init).is_dir():
        yield from history(Path(init))
    words = ["innflow-train"]
    for text in map(str, read_yaml(run / "overrides.yaml", [])):
        key, _, value = text.partition("=")
        if key not in ("run_dir", "ckpt", "data.cache_dir", "paths.outputs", "paths.cache"):
            words.append(f"{key}=DIR" if is_place(value) else text)
    yield " ".join(words), read_json(run / "metrics.json", {})["time/train_seconds"]


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InnflowError as error:
        sys.exit(f"error: {error}")
