"""Completion of the commands in bash, zsh and fish: a script of words, which starts no Python."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

from innflow.command import overview

SHELLS = ("bash", "zsh", "fish")
FILES = ("run", "out", "input", "y", "truth", "dir", "run_dir", "init", "data.root", "--config-dir")
"""Keys whose values are completed as files and folders."""
VALUES = {
    "ckpt": ("best", "last"),
    "device": ("auto", "cpu", "cuda"),
    "format": ("onnx", "torch"),
    "mode": ("min", "max"),
    **dict.fromkeys(("trust", "correct", "compile", "reversible"), ("true", "false")),
}
KEY = re.compile(r"^( *)([a-z]\w*):", re.MULTILINE)

BASH = """\
# Completion of the commands of innflow, written by `innflow --completion {shell}`.
{start}_innflow_complete() {{
    local cur=${{COMP_LINE:0:COMP_POINT}} words known path
    cur=${{cur##* }}
    case ${{COMP_LINE%% *}} in
{cases}    esac
    COMPREPLY=()
    for path in {files}; do
        if [[ $cur == "$path="* ]]; then
            known=
            [[ $path == run ]] && known=$(compgen -W "{pretrained}" -- "${{cur#run=}}")
            while IFS= read -r word; do
                [[ -d ${{word/#\\~/$HOME}} ]] && word+=/
                [[ -n $word ]] && COMPREPLY+=("$path=$word")
            done <<< "$known"$'\\n'"$(compgen -f -- "${{cur#*=}}")"
        fi
    done
    [[ ${{#COMPREPLY[@]}} -gt 0 ]] || COMPREPLY=($(compgen -W "$words" -- "$cur"))
    # In bash only the text after the last = or : is replaced.
    local before=${{cur%"${{cur##*[=:]}}"}}
    [[ $COMP_WORDBREAKS == *=* ]] && COMPREPLY=("${{COMPREPLY[@]#"$before"}}")
    if [[ ${{COMPREPLY[0]}} == *[=/] ]] && type compopt > /dev/null 2>&1; then
        compopt -o nospace 2> /dev/null
    fi
    return 0
}}
complete -F _innflow_complete {commands}
"""
ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
FISH = """\
# Completion of the commands of innflow, written by `innflow --completion fish`.
function __innflow_paths
    set -l typed (commandline -ct)
    string match -q '*=*' -- $typed; or return
    set -l key (string split -m 1 = -- $typed)[1]
    contains -- $key {files}; or return
    for path in (__fish_complete_path (string split -m 1 = -- $typed)[2])
        echo $key=$path
    end
end
{lines}"""


def write_script(shell: str, commands: Iterable[str]) -> str:
    """Return a script that defines the completion of all commands.

    Args:
        shell: one of `SHELLS`.
        commands: names of the commands.
    """
    words = {name: list_words(name) for name in commands}
    packed = files("innflow").joinpath("pretrained").iterdir()
    stems = sorted(file.name.partition(".")[0] for file in packed if file.name.endswith(".json"))
    flows = [f"pretrained:{stem}" for stem in stems]
    if shell == "fish":
        lines = []
        for name, known in words.items():
            more = [f"run={flow}" for flow in flows if "run=" in known]
            lines.append(f"complete -c {name} -f -a '{' '.join([*known, *more])}'\n")
            lines.append(f"complete -c {name} -f -a '(__innflow_paths)'\n")
        return FISH.format(files=" ".join(FILES), lines="".join(lines))
    cases = "".join(
        f'        *{name}) words="{" ".join(known)}" ;;\n' for name, known in words.items()
    )
    return BASH.format(
        shell=shell,
        start=ZSH if shell == "zsh" else "",
        cases=cases,
        files=" ".join(FILES),
        pretrained=" ".join(flows),
        commands=" ".join(words),
    )


def list_words(command: str) -> list[str]:
    """Return what can be typed after a command: options, `key=` and `key=value`.

    Example:
        >>> [word for word in list_words("innflow-export") if word.startswith("format")]
        ['format=onnx', 'format=torch']
    """
    if command == "innflow":
        return ["--completion", "--help", "--version"]
    if command == "innflow-train":
        return _train_words()
    name = command.removeprefix("innflow-")
    files = {"sweep-report": "sweep"}
    text = overview.read(f"command/{files.get(name, name)}.yaml")
    keys = [key for key in _keys(text) if key != "command"]
    words = [*_with_values(keys), "--help", "--version"]
    return [*words, *_choices(("data", "analysis", "score"))] if name == "eval" else words


def _train_words() -> list[str]:
    keys = [key for key in _keys(overview.read("train.yaml")) if "hydra" not in key]
    for group in overview.GROUPS:
        if group not in ("extra", "debug"):
            keys += [
                f"{group}.{key}" for name in overview.options(group) for key in _own(group, name)
            ]
    keys += [f"trainer.{key}" for key in _own("trainer", "default")]
    keys += ["data.root", "companions.general"]
    groups = [group for group in overview.GROUPS if group not in ("extra", "debug", "subnet")]
    chosen = [f"+{choice}" for choice in _choices(("experiment", "extra", "debug"))]
    chosen += [f"subnet@model.{choice}" for choice in _choices(("subnet",))]
    options = ["--help", "--version", "--cfg", "--config-dir", "--multirun"]
    return [*options, *chosen, *_choices(groups), *_with_values(dict.fromkeys(keys))]


def _own(group: str, option: str) -> list[str]:
    """Return the keys at the top of an option of a group."""
    text = overview.read(f"{group}/{option}.yaml")
    return [key for key in _keys(text) if key not in ("defaults", "override")]


def _keys(text: str) -> list[str]:
    """Return the keys of a config at its top, or one level below `command`."""
    inside = "\ncommand:\n" in text
    return [key for indent, key in KEY.findall(text) if len(indent) == (2 if inside else 0)]


def _choices(groups: Iterable[str]) -> list[str]:
    return [f"{group}={option}" for group in groups for option in overview.options(group)]


def _with_values(keys: Iterable[str]) -> list[str]:
    known: Mapping[str, Sequence[str]] = VALUES
    return [f"{key}={value}" for key in keys for value in known.get(key, ("",))]
