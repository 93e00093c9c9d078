"""The launcher `hydra/launcher=slurm`, in the package where Hydra looks for launchers.

Without the extra `innflow[cluster]` it is not defined; the command then prints a line that names
the extra.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from omegaconf import open_dict

from innflow.config.message import one_line
from innflow.errors import InnflowError
from innflow.system.failed_jobs import note_failure, print_failure, read_failure
from innflow.system.progress import announce

FOR_THE_EXECUTOR = ("submitit_folder", "max_num_timeout")
FOR_ANY_CLUSTER = (
    "timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name",
    "stderr_to_stdout",
)  # fmt: skip
"""Parameters that submitit has for every kind of cluster; all others are Slurm's own."""

with suppress(ImportError):
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as Submitit

    class SlurmLauncher(Submitit):
        """submitit's launcher, which waits for all jobs and reports each that fails or is killed.

        Its parent stops waiting at the first job that is killed.
        """

        def launch(
            self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
        ) -> Sequence[JobReturn]:
            """Submit all jobs as one array, wait for each and return what they returned."""
            root = Path(str(self.config.hydra.sweep.dir)).absolute()
            numbered = list(enumerate(job_overrides, initial_job_idx))
            folders = [root / self._subdir(number, overrides) for number, overrides in numbered]
            root.mkdir(parents=True, exist_ok=True)
            state = Singleton.get_state()
            jobs = self._submit(
                [(list(o), "hydra.sweep.dir", n, f"job_id_for_{n}", state) for n, o in numbered]
            )
            announce(f"{len(jobs)} jobs submitted to Slurm; they write into {root}")
            return [
                _wait(job, folder, number, filter_overrides(overrides))
                for job, folder, (number, overrides) in zip(jobs, folders, numbered, strict=True)
            ]

        def _subdir(self, number: int, overrides: Sequence[str]) -> str:
            """Compose the config of a job, which can fail before submission; return its folder."""
            config = self.hydra_context.config_loader.load_sweep_config(self.config, [*overrides])
            with open_dict(config.hydra.job):
                config.hydra.job.num = number
            HydraConfig.instance().set_config(config)
            try:
                return str(config.hydra.sweep.subdir)
            finally:
                HydraConfig.instance().set_config(self.config)

        def _submit(self, arguments: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
            import submitit

            params = {
                key if key in FOR_ANY_CLUSTER else f"slurm_{key}": value
                for key, value in self.params.items()
                if key not in FOR_THE_EXECUTOR
            }
            try:
                executor = submitit.AutoExecutor(
                    cluster="slurm",
                    folder=self.params["submitit_folder"],
                    slurm_max_num_timeout=self.params["max_num_timeout"],
                )
                executor.update_parameters(**params)
                return executor.map_array(self, *zip(*arguments, strict=True))
            except (RuntimeError, submitit.core.utils.FailedJobError) as error:
                raise InnflowError(f"hydra/launcher=slurm: {one_line(error)}") from None


def _wait(job: Any, folder: Path, number: int, overrides: Sequence[str]) -> JobReturn:
    """Wait for a job of submitit, and print a line if it has failed."""
    returned = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    try:
        returned = job.results()[0]
    except Exception as error:  # submitit raises what it finds: killed, cancelled, out of time
        reason = "ended without a result"
        if "Traceback" in str(error):
            reason = str(error).strip().splitlines()[-3]
        reason = f"{reason}; its log is {job.paths.stderr}"
        note_failure(folder, number, overrides, str(job.state), reason)
    failure = read_failure(folder)
    if failure is not None:
        print_failure(failure, fixed=sys.argv[1:])
    return returned
