"""Run folders: the lock of one process, and the files with a run's origin."""

import fcntl
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any
from weakref import WeakSet

from omegaconf import OmegaConf

from innflow.errors import InnflowError
from innflow.system.file.atomic import write_json, write_text
from innflow.system.secret import redact, redact_override
from innflow.system.signature import is_signed, sign
from innflow.system.slurm import job_id, requeued

LOCK = ".lock"
_held: WeakSet[IO[str]] = WeakSet()
# Forked workers close their copy of the lock, so that it is free when this process ends.
os.register_at_fork(after_in_child=lambda: [lock.close() for lock in _held])

SETTINGS = ("config.yaml", "overrides.yaml")
"""Files of a run folder with its settings, each signed by the account that has written it."""
_SIGNED = "# signature: "
PARTIAL = ".*.partial"
"""Pattern of incomplete files that a killed process has left."""

PACKAGES = ("innflow", "torch", "torchvision", "pytorch-lightning", "nflows", "hydra-core", "numpy")


@contextmanager
def claim(run_dir: Path, resume: bool = False, key: str = "run_dir") -> Iterator[Path]:
    """Make a run folder and lock it for this process.

    Args:
        run_dir: the folder.
        resume: whether it may hold files, those of a run to be resumed.
        key: key of the folder on the command line, for error messages.

    Raises:
        InnflowError: if another process holds it, or it holds files and `resume` is false.
    """
    where = f"{key}={run_dir}"
    check_links(run_dir)
    try:
        if not resume and run_dir.is_dir() and any(p.name != LOCK for p in run_dir.iterdir()):
            resumable = ", or resume that run by ckpt=last" if key == "run_dir" else ""
            raise InnflowError(f"{where}: holds files already; choose another folder{resumable}")
        missing = [path for path in (run_dir, *run_dir.parents) if not path.exists()]
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = (run_dir / LOCK).open("a+")
    except OSError as error:
        raise InnflowError(
            f"{where}: cannot be written ({error.strerror}); choose another folder"
        ) from None
    _held.add(lock)
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InnflowError(
                f"{where}: another process is using it; wait for it, or choose another folder"
            ) from None
        try:
            lock.truncate(0)
            lock.write(job_id() or "")
            lock.flush()
            for leftover in (*run_dir.glob(PARTIAL), *run_dir.glob(f"*/{PARTIAL}")):
                leftover.unlink()
            yield run_dir
        finally:
            # A run that was refused before it wrote anything leaves no folder behind.
            if [path.name for path in run_dir.glob("*")] == [LOCK]:
                (run_dir / LOCK).unlink()
                for path in missing:
                    if not any(path.iterdir()):
                        path.rmdir()


def is_requeued_run(run_dir: Path) -> bool:
    """Return whether this is a requeued Slurm job and the folder is its own run."""
    lock = run_dir / LOCK
    return requeued() and lock.is_file() and lock.read_text(encoding="utf-8") == job_id()


def is_own(run_dir: Path) -> bool:
    """Return whether this account has written config.yaml and overrides.yaml of a run folder."""
    parts = [(run_dir / name).read_text(encoding="utf-8").rpartition(_SIGNED) for name in SETTINGS]
    signed = zip(SETTINGS, parts, strict=True)
    return all(is_signed(signature.strip(), name, text) for name, (text, _, signature) in signed)


def check_links(run_dir: Path) -> None:
    """Refuse a folder with a link that leads out of it, where a run would write or read.

    The folder of Weights & Biases links to a log file in its own cache.

    Raises:
        InnflowError: naming the link.
    """
    inside = Path(os.path.realpath(run_dir))
    for place, folders, names in os.walk(run_dir):
        for path in (Path(place, name) for name in (*folders, *names)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                raise InnflowError(
                    f"{path}: is a link that leads out of the folder {run_dir}; replace it by what "
                    "it links to"
                )
        folders[:] = [name for name in folders if name != "wandb"]


def write_origin(
    run_dir: Path, config: Mapping[str, Any], overrides: Sequence[str], device: str
) -> None:
    """Write config.yaml, overrides.yaml and environment.json, without the secrets in them.

    A new folder has no config.yaml before overrides.yaml is complete: a run that has a config.yaml
    can be resumed. In a folder that has one, it is replaced first: where the process is killed
    before overrides.yaml follows, the same command finds the change once more and repeats it.
    """
    import torch  # late: a resumed run is checked before anything large is imported

    shown = redact(config)
    typed = [redact_override(text) for text in overrides]
    files = list(zip(SETTINGS, (shown, typed), strict=True))
    for name, content in files if (run_dir / SETTINGS[0]).exists() else files[::-1]:
        text = OmegaConf.to_yaml(OmegaConf.create(content))
        write_text(run_dir / name, f"{text}{_SIGNED}{sign(name, text)}\n")
    environment = {
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "seed": config["seed"],
        "commit": _commit(),
    }
    write_json(run_dir / "environment.json", environment)


def _commit() -> str | None:
    """Return the git commit of innflow's source, or None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return completed.stdout.strip() or None
