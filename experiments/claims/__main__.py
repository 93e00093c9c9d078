"""Measure the claims, and write their page.

    python -m experiments.claims plan [only=1,2] [seeds=0,1,2]
    python -m experiments.claims run data=DIR [only=1,2] [seeds=0,1,2] [out=outputs/claims]
                                     [minutes=1]
    python -m experiments.claims page [results=FILE] [to=DIR]

`run` skips what is finished and resumes what was stopped. It writes results.json beside this file,
with minutes=, the limit of a trial for every training, into the folder `out` instead. What is in
results.json is kept; without it all finished runs are read again.
`page` writes the table of README.md and the figures from it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.claims.claims import BY_NUMBER, CLAIMS
from experiments.claims.execute import Plan, execute, read_results
from experiments.claims.page import write_page, write_plan
from innflow.errors import InnflowError

HERE = Path(__file__).parent
DEFAULTS = {
    "plan": {"only": "", "seeds": "0,1,2"},
    "run": {"data": "", "only": "", "seeds": "0,1,2", "out": "outputs/claims", "minutes": ""},
    "page": {"results": str(HERE / "results.json"), "to": str(HERE)},
}


def read(words: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return the action and its settings from the words of the command line.

    Raises:
        InnflowError: naming the word that is unknown.
    """
    action = words[0] if words else ""
    if action not in DEFAULTS:
        raise InnflowError(f"claims: {action or 'no action'}: takes {', '.join(DEFAULTS)}")
    known = DEFAULTS[action]
    given = dict(word.partition("=")[::2] for word in words[1:])
    for key in given:
        if key not in known:
            raise InnflowError(f"claims: {key} is unknown: {action} takes {', '.join(known)}")
    return action, known | given


def numbers(key: str, text: str) -> list[int]:
    """Return integers that are separated by commas."""
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise InnflowError(f"claims: {key}={text}: takes numbers, such as 0,1,2") from None


def main(words: Sequence[str]) -> None:
    """Do one action."""
    action, given = read(words)
    if action == "page":
        write_page(read_results(Path(given["results"])), Path(given["to"]))
        return
    chosen = numbers("only", given["only"]) if given["only"] else list(BY_NUMBER)
    unknown = sorted(set(chosen) - set(BY_NUMBER))
    if unknown:
        raise InnflowError(f"claims: only={unknown[0]}: takes numbers from 1 to {len(CLAIMS)}")
    claims, seeds = [BY_NUMBER[number] for number in chosen], numbers("seeds", given["seeds"])
    if action == "plan":
        sys.stdout.write(write_plan(claims, len(seeds)) + "\n")
        return
    out = Path(given["out"]).absolute()
    try:
        limit = float(given["minutes"]) if given["minutes"] else None
    except ValueError:
        raise InnflowError(f"claims: minutes={given['minutes']}: takes a number") from None
    results = (HERE if limit is None else out) / "results.json"
    data = Path(given["data"]).absolute() if given["data"] else None
    failed = execute(Plan(claims, seeds, data, out, results, limit))
    if failed:
        raise InnflowError(f"claims: {len(failed)} runs failed: {', '.join(failed)}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main(sys.argv[1:])
    except InnflowError as error:
        sys.exit(f"claims: error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
