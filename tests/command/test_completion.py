"""Completion: what bash offers for a line that is typed."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import entry_points
from pathlib import Path

import pytest

SCRIPTS = [
    script.name
    for script in entry_points(group="console_scripts")
    if script.value.startswith("innflow.command.")
]
BASH = """\
source ./script
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
COMP_LINE=$1 COMP_POINT=${#1}
_innflow_complete
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def offered(command):
    """Return a function that returns the words that bash offers for a line."""
    answer = command("innflow", "--completion", "bash")
    assert answer.code == 0, answer.err
    Path("script").write_text(answer.out)
    Path("outputs/moons").mkdir(parents=True)
    Path("outputs/points.csv").touch()

    def offer(line: str) -> set[str]:
        found = subprocess.run(
            ["bash", "-c", BASH, "bash", line], capture_output=True, text=True, check=True
        )
        assert found.stderr == ""
        return set(found.stdout.split())

    return offer


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("innflow --comp", {"--completion"}),
        ("innflow-train +experiment=moo", {"moons"}),
        ("innflow-train +experiment=moons model=jet", {"jet", "jet_base", "jet_large"}),
        ("innflow-train +experiment=moons model.dep", {"model.depth="}),
        ("innflow-train trainer.max_t", {"trainer.max_time="}),
        ("/some/where/innflow-export format=", {"onnx", "torch"}),
        ("innflow-score run=out", {"outputs/"}),
        ("innflow-score run=outputs/", {"outputs/moons/", "outputs/points.csv"}),
        ("innflow-sample run=pretrained:dig", {"digits8"}),
        ("innflow-posterior corr", {"correct=true", "correct=false"}),
        ("innflow-sample nothing", set()),
    ],
)
def test_bash_offers(offered, line, found):
    assert offered(line) == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_has_every_command_and_is_valid(command, shell):
    script = command("innflow", "--completion", shell).out
    assert SCRIPTS
    assert all(name in script for name in SCRIPTS)
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_another_shell_is_one_line(command):
    for words in (["tcsh"], [], ["bash", "zsh"]):
        answer = command("innflow", "--completion", *words)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err == "innflow: error: --completion takes one of bash, zsh and fish\n"
