"""Cases drawn by hypothesis: every one is tried, and what falls short is listed at the end."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS
from hypothesis.strategies import SearchStrategy

from chaos.sandbox import REFUSED, WORKED, Short
from chaos.settings import OUT, SEED
from chaos.worker import Worker

# Under its own name hypothesis derives five of six cases from the one before, by copying parts of
# it; under another one it draws each case independently.
AVAILABLE_PROVIDERS["independent"] = AVAILABLE_PROVIDERS["hypothesis"]


def explore(
    kind: str, cases: SearchStrategy[Any], number: int, check: Callable[[Any], str]
) -> None:
    """Try a number of cases and fail with the shortest example of each way to fall short.

    Args:
        kind: for the table.
        cases: what is drawn.
        number: of cases.
        check: returns whether a case worked or was refused, or raises `Short`.
    """
    counts: Counter[str] = Counter()
    short: dict[str, tuple[str, str]] = {}
    seen: set[str] = set()
    started = processor_time()

    @seed(SEED)
    @settings(
        max_examples=4 * number,
        database=None,
        backend="independent",
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def one(case: Any) -> None:
        example = repr(case)
        if example in seen or len(seen) == number:
            return  # hypothesis draws some cases again
        seen.add(example)
        try:
            counts[check(case)] += 1
        except Exception as error:  # `Short`, or results that cannot even be checked
            found = str(error) if isinstance(error, Short) else f"{type(error).__name__}: {error}"
            counts["short"] += 1
            way = re.sub(r"'.*?'|\".*?\"|[\d.]+|\S*/\S*|\[.*\]", "#", found)
            if way not in short or len(example) < len(short[way][1]):
                short[way] = (found, example)

    one()
    for worker in Worker.started:
        worker.close()  # its processor time is counted when it has ended
    report(kind, counts, list(short.values()), processor_time() - started)


def run_cases(kind: str, number: int, one: Callable[[int], str]) -> None:
    """Do a number of cases, each seeded by its number, and report them."""
    counts: Counter[str] = Counter()
    short: list[tuple[str, str]] = []
    started = processor_time()
    for case in range(number):
        try:
            counts[one(case)] += 1
        except Short as error:
            counts["short"] += 1
            short.append((str(error), f"case {case}"))
    report(kind, counts, short, processor_time() - started)


def processor_time() -> float:
    """Return the processor time of this process and of its children that have ended, in seconds."""
    return sum(os.times()[:4])


def report(kind: str, counts: Counter[str], short: list[tuple[str, str]], seconds: float) -> None:
    """Print and write the numbers of a kind; fail if a case fell short.

    Args:
        kind: for the table.
        counts: number of cases by outcome.
        short: reason and example of each way to fall short.
        seconds: of processor time.
    """
    row = {
        "kind": kind,
        "cases": counts.total(),
        **{name: counts[name] for name in (WORKED, REFUSED, "short")},
        "seed": SEED,
        "processor_seconds": round(seconds, 1),
        "examples": short,
    }
    print(json.dumps({key: row[key] for key in list(row)[:-1]}))  # noqa: T201
    if OUT is not None:
        OUT.mkdir(parents=True, exist_ok=True)
        name = "".join(c if c.isalnum() else "-" for c in kind)
        (OUT / f"{name}.json").write_text(json.dumps(row, indent=1) + "\n")
    if short:
        lines = [f"{reason}\n    {example}" for reason, example in short]
        pytest.fail(f"{kind}, seed {SEED}: {counts}\n" + "\n".join(lines), pytrace=False)
