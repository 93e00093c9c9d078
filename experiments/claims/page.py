"""The page: one table of all claims, then a section with a figure for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.claims.claims import CLAIMS, Claim
from experiments.claims.criteria import values
from experiments.claims.figures import CAPTION, CAPTIONS, plot
from experiments.claims.measure import RELATIVE_PNG, Numbers
from experiments.claims.runs import needed
from innflow.errors import InnflowError
from innflow.figure.style import to_png
from innflow.system.file.atomic import write_text, writing

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
MISSING = "not measured"


def write_page(results: Mapping[str, Any], to: Path) -> None:
    """Write the results between the marks of to/README.md, and the figures to to/figures."""
    page = to / "README.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if BEGIN not in text or END not in text:
        raise InnflowError(f"{page}: needs the lines {BEGIN} and {END}")
    for claim in CLAIMS:
        seeds = seeds_of(results, claim)
        if seeds:
            (to / "figures").mkdir(exist_ok=True)
            with writing(to / figure_name(claim)) as file:
                file.write(to_png(plot(claim, seeds)))
    write_text(page, fill_in(text, results))


def fill_in(text: str, results: Mapping[str, Any]) -> str:
    """Return the text of a page with the results between its marks."""
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    found = {claim: seeds_of(results, claim) for claim in CLAIMS}
    sections = [section(claim, seeds) for claim, seeds in found.items() if seeds]
    blocks = [before + BEGIN, machine_line(results), table(results), *sections, END + after]
    return "\n\n".join(block for block in blocks if block)


def figure_name(claim: Claim) -> str:
    """Return the path of the figure of a claim beside the page."""
    return f"figures/{claim.number:02d}_{claim.name.replace(' ', '_')}.png"


def seeds_of(results: Mapping[str, Any], claim: Claim) -> list[dict[str, Any]]:
    """Return the results of a claim's seeds, in order."""
    of = results["claims"].get(str(claim.number), {})
    return [of[seed] for seed in sorted(of, key=int)]


def table(results: Mapping[str, Any]) -> str:
    """Return the table of all claims as markdown."""
    rows = [
        ["", "claim", "measured, mean ± spread", "verdict", "seeds", "minutes", "command"],
        ["---"] * 7,
    ]
    for claim in CLAIMS:
        seeds = seeds_of(results, claim)
        found = [seed["numbers"] for seed in seeds]
        minutes = sum(sum(seed["minutes"].values()) for seed in seeds)
        rows.append(
            [
                str(claim.number),
                claim.sentence,
                summary(claim, found) if found else MISSING,
                f"**{claim.judge(found)}**" if found else MISSING,
                str(len(seeds)),
                f"{minutes:.0f}",
                f"`only={claim.number}`",
            ]
        )
    return "\n".join(line(row) for row in rows)


def summary(claim: Claim, found: Sequence[Numbers]) -> str:
    """Return the numbers of the table: panel by panel, the mean and the spread of each side."""
    each = [claim.summary(numbers) for numbers in found]
    groups = []
    for panel, sides in each[0].items():
        texts = [f"{side.replace('_', ' ')} {spread(values(each, panel, side))}" for side in sides]
        groups.append(f"{panel}: {', '.join(texts)}")
    return "; ".join(groups)


def section(claim: Claim, seeds: Sequence[Mapping[str, Any]]) -> str:
    """Return the section of a claim."""
    found = [seed["numbers"] for seed in seeds]
    sides = [side for side in claim.sides if any(side in of for of in found[0].values())]
    measured = RELATIVE_PNG in next(iter(found[0].values()))
    shown = [*sides, RELATIVE_PNG] if measured else sides
    first = "inliers / outliers" if claim.unit == "AUROC" else claim.unit
    names = {RELATIVE_PNG: "PNG length, relative"}
    rows = [[first, *(names.get(side, side.replace("_", " ")) for side in shown)]]
    rows.append(["---"] * len(rows[0]))
    for panel in found[0]:
        cells = [spread(values(found, panel, side)) for side in shown]
        rows.append([panel, *cells])
    parts = [
        f"## {claim.number}. {claim.name.capitalize()}",
        claim.sentence,
        f"*Source.* {claim.source}.",
        f"*Criterion.* {claim.criterion}",
        f"*Verdict.* {claim.judge(found)}.",
        "\n".join(line(row) for row in rows),
        f"![{claim.name}]({figure_name(claim)})",
        CAPTIONS.get(claim.number, CAPTION),
    ]
    return "\n\n".join(parts)


def machine_line(results: Mapping[str, Any]) -> str:
    """Return what the runs ran on; empty without results."""
    machine = results["machine"]
    if not machine:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['system']}, threads: {machine['threads']}; {versions}."


def spread(numbers: np.ndarray) -> str:
    """Return mean ± standard deviation over the seeds, of the numbers that are defined."""
    defined = numbers[np.isfinite(numbers)]
    if not len(defined):
        return "-"
    text = f"{defined.mean():.3f}"
    if len(defined) > 1:
        text += f" ± {defined.std(ddof=1):.3f}"
    return text if len(defined) == len(numbers) else f"{text} ({len(defined)} of {len(numbers)})"


def line(cells: Sequence[str]) -> str:
    """Return a row of a table as markdown."""
    return f"| {' | '.join(cells)} |"


def write_plan(claims: Sequence[Claim], seeds: int) -> str:
    """Return the runs of claims with steps and minutes as text."""
    runs = needed([name for claim in claims for name in claim.runs])
    width = max(len(run.name) for run in runs)
    lines = [f"{'run':<{width}}  steps  minutes  claims"]
    for run in runs:
        numbers = [str(claim.number) for claim in claims if run in claim.all_runs]
        lines.append(f"{run.name:<{width}}  {run.steps:5}  {run.minutes:7g}  {', '.join(numbers)}")
    total = sum(run.minutes for run in runs)
    return "\n".join(
        [
            *lines,
            f"{total:g} minutes a seed, {seeds * total / 60:.1f} hours in total; seeds: {seeds}",
        ]
    )
