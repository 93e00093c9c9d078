"""What a run folder of another person may hold: names of code, pickles, YAML tags."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

MODULE = "import os\ndef made(*args, **more):\n    os.mkdir({mark!r})\nmade()\n"
"""A module whose import leaves the mark."""

TARGETS = (
    *("made.made", "os.mkdir", "os.system", "builtins.eval", "builtins.exec", "subprocess.run"),
    *(
        "torch.load",
        "torch.hub.load",
        "torch.nn.modules.module.torch.os.mkdir",
        "pathlib.Path.mkdir",
    ),
    *("innflow.config.build.build", "innflow.data.Simulator", "hydra.utils.instantiate"),
    *(
        "torchvision.models.get_model",
        "torch.serialization.os.mkdir",
        "innflow.app.module.torch.load",
    ),
    *("innflow.flow.vector", "innflow.score.Likelihood", "torch.nn.Linear", "torch.optim.Adam"),
    *("innflow.system.SweepEnd", "innflow.callback.Guard", "exploded", "", ".", "a..b", "innflow"),
)
CALLS = (
    {"path": "exploded"},
    {"command": "mkdir exploded"},
    {"args": ["mkdir", "exploded"]},
    {"_args_": ["exploded"]},
    {"_args_": ["__import__('os').mkdir('exploded')"]},
    {"prior": "made.made", "forward": "made.made"},
    {"_target_": "made.made", "_partial_": True},
    {"config": {"_target_": "os.mkdir", "path": "exploded"}},
    {"_recursive_": True, "x": {"_target_": "os.mkdir", "path": "exploded"}},
    {},
)
TEXTS = (
    "${oc.create:{_target_:os.mkdir,path:exploded}}",
    "${oc.env:HOME}",
    "made.made",
    "innflow.problem.arm.np.load",
)


@st.composite
def attacks(draw: Any) -> Any:
    """A node that would run code, or a text that would."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(TEXTS))
    return {"_target_": draw(st.sampled_from(TARGETS)), **draw(st.sampled_from(CALLS))}


class Bomb:
    """What unpickling must never call."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def lay(here: Path) -> None:
    """Put a module into the working directory that leaves the mark when it is imported."""
    mark = str(here / "exploded")
    for name in ("made", "hubconf"):
        (here / f"{name}.py").write_text(MODULE.format(mark=mark))


STORED = (
    "+hydra.callbacks.x={_target_:os.mkdir,path:exploded}",
    "++hydra.run.dir=elsewhere",
    "hydra/launcher=joblib",
    "hydra.sweep.dir=elsewhere",
    "name=${oc.env:HOME}",
    "--config-dir=.",
    "--config-path=.",
    "--multirun",
    "-m",
    "+callbacks.x={_target_:os.mkdir,path:exploded}",
    "+callbacks.x._target_=made.made",
    "model._target_=made.made",
    "data.root=/proc/self",
    "run_dir=elsewhere",
    "ckpt=null",
    "~model",
    "seed=1",
    "seed=1,2",
    "+experiment=../../here/made",
    "+experiment=made",
    "trainer.max_steps=1000000000000",
    "!!python/object/apply:os.mkdir [exploded]",
)
"""Entries of overrides.yaml."""
