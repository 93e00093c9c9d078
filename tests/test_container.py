"""Container files, checked without a container engine, and AWS Batch on a server on loopback."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

import boto3
import pytest
import yaml
from aws import lead_to, serving
from moto.core.models import default_user_config

ROOT = Path(__file__).parents[1]
BATCH = ROOT / "container/batch"
sys.path.append(str(BATCH))  # as Python does for a script there
job, submit = import_module("job"), import_module("submit")
toml = import_module("tomllib" if sys.version_info >= (3, 11) else "pip._vendor.tomli")

SETTINGS = toml.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def instructions() -> list[tuple[str, str, str]]:
    """Return (stage, instruction, arguments) of every line of the Dockerfile."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    found, stage = [], ""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            stage = rest.split()[-1] if word == "FROM" else stage
            found.append((stage, word, " ".join(rest.split())))
    return found


def of(*words: str) -> list[str]:
    return [rest for _, word, rest in instructions() if word in words]


STAGES = {rest.split()[-1]: rest.split()[0] for rest in of("FROM")}


def lineage(stage: str) -> list[str]:
    """Return a stage after the stages that it is built from, the first one first."""
    parent = STAGES[stage]
    return [*(lineage(parent) if parent in STAGES else []), stage]


def in_stage(stage: str, word: str) -> list[str]:
    """Return the arguments of one instruction in a stage and in the stages it is built from."""
    own = [(s, rest) for s, w, rest in instructions() if w == word]
    return [rest for known in lineage(stage) for s, rest in own if s == known]


def environment(stage: str) -> dict[str, str]:
    return dict(part.split("=", 1) for line in in_stage(stage, "ENV") for part in shlex.split(line))


def ignored(path: str) -> bool:
    """Return whether .dockerignore excludes a path: the last rule that matches counts."""
    parts, out = path.split("/"), False
    for rule in (ROOT / ".dockerignore").read_text().splitlines():
        rule = rule.strip()
        if not rule or rule.startswith("#"):
            continue
        pattern = rule.lstrip("!")
        anywhere = pattern.removeprefix("**/")
        for i in range(len(parts)):
            whole = fnmatch("/".join(parts[: i + 1]), pattern) and (
                "/" in pattern or "*" not in pattern or i == 0
            )
            if whole or (anywhere != pattern and fnmatch(parts[i], anywhere)):
                out = not rule.startswith("!")
    return out


def copied() -> Iterator[str]:
    for rest in of("COPY", "ADD"):
        if "--from=" not in rest:
            yield from shlex.split(rest)[:-1]


@pytest.mark.parametrize("source", list(copied()))
def test_sources_of_the_dockerfile_exist_and_are_not_ignored(source):
    assert (ROOT / source).exists()
    assert not ignored(source)
    for path in [p for p in (ROOT / source).rglob("*.py") if "__pycache__" not in p.parts][:50]:
        assert not ignored(path.relative_to(ROOT).as_posix())


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".venv/bin/python", "data/a.png", "outputs/run/best.ckpt", "keys.env"),
        *("src/innflow/__pycache__/run.pyc", "src/keys.env", "tests/test_run.py", "wandb/run"),
        *("src/innflow.egg-info/PKG-INFO", "container/batch/submit.py", ".aws/credentials"),
    ],
)
def test_other_files_are_not_copied_into_an_image(path):
    assert ignored(path)


def test_stages_that_are_copied_from_exist():
    named = re.findall(r"--from=(\S+)", "\n".join(of("COPY")))
    assert named
    assert set(named) <= STAGES.keys()


def test_base_images_are_pinned_to_the_cuda_of_torch():
    (cuda,) = re.findall(r"^nvidia-cuda-runtime==(\d+\.\d+)\.", CONSTRAINTS, re.MULTILINE)
    bases = [image for image in STAGES.values() if image not in STAGES]
    assert bases
    for image in bases:
        assert re.fullmatch(rf"nvidia/cuda:{re.escape(cuda)}\.\d+-runtime-ubuntu\d\d\.\d\d", image)


def test_every_package_and_its_files_are_listed_for_the_wheel():
    tools = SETTINGS["tool"]["setuptools"]
    source = ROOT / "src/innflow"
    for path in source.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            package = ".".join(path.parent.relative_to(source.parent).parts)
            assert package in tools["packages"], path
            patterns = ["*.py", *tools["package-data"].get(package, ())]
            assert any(fnmatch(path.name, pattern) for pattern in patterns), path


@pytest.mark.slow
def test_wheel_is_built_from_the_copied_files_and_is_complete(tmp_path):
    for source in in_stage("wheel", "COPY"):
        for name in shlex.split(source)[:-1]:
            if (ROOT / name).is_dir():
                for path in (ROOT / name).rglob("*"):
                    inside = path.relative_to(ROOT).as_posix()
                    if path.is_file() and not ignored(inside):
                        (tmp_path / inside).parent.mkdir(parents=True, exist_ok=True)
                        (tmp_path / inside).write_bytes(path.read_bytes())
            else:
                (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (run,) = in_stage("wheel", "RUN")[-1:]
    assert run == "pip wheel --no-deps --wheel-dir /dist ."
    line = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    line += ["--disable-pip-version-check", "--wheel-dir", str(tmp_path / "dist"), str(tmp_path)]
    subprocess.run(line, check=True, capture_output=True, timeout=90)
    (wheel,) = (tmp_path / "dist").glob("innflow-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = [name for name in names if name.endswith("entry_points.txt")]
        scripts = archive.read(points).decode()
    assert {"innflow/command/main.py", "innflow/conf/train.yaml"} <= names
    flows = (path.name for path in (ROOT / "src/innflow/pretrained").iterdir() if path.is_file())
    assert {f"innflow/pretrained/{name}" for name in flows} <= names
    assert all(f"{name} = " in scripts for name in PROJECT["scripts"])


def test_images_run_without_root_and_start_a_command():
    for stage, entry in (("train", ["innflow-train"]), ("batch", None)):
        users = in_stage(stage, "USER")
        assert users
        assert int(users[-1]) > 0
        (found,) = in_stage(stage, "ENTRYPOINT")
        if entry:
            assert json.loads(found) == entry
            assert entry[0] in PROJECT["scripts"]
        else:
            (copy,) = [c for c in in_stage(stage, "COPY") if "--from" not in c and "job.py" in c]
            assert json.loads(found) == ["python", copy.split()[-1]]
    assert [stage for stage, word, _ in instructions() if word == "FROM"][-1] == "train"


def test_data_caches_and_runs_are_volumes_writable_by_any_user():
    volumes = json.loads(in_stage("train", "VOLUME")[0])
    made = " ".join(in_stage("train", "RUN"))
    match = re.search(r"install -d -m 1777 ([^&]+)", made)
    assert match
    assert set(volumes) == set(match[1].split()) == {"/data", "/cache", "/runs"}
    env = environment("train")
    assert env["INNFLOW_DATA"] == "/data"
    for name in ("HOME", "INNFLOW_CACHE", "TORCH_HOME", "MPLCONFIGDIR"):
        assert env[name].startswith("/cache")
    read = (ROOT / "conf/paths/default.yaml").read_text()
    assert {name for name in env if name.startswith("INNFLOW_")} <= set(
        re.findall(r"oc\.env:(\w+)", read)
    )
    assert in_stage("train", "WORKDIR")[-1] == "/runs"


def test_versions_and_extras_are_those_of_the_project():
    env = environment("train")
    (copy,) = [c for c in in_stage("base", "COPY") if "constraints" in c]
    assert env["PIP_CONSTRAINT"] == f"{copy.split()[1].rstrip('/')}/constraints.txt"
    (arg,) = of("ARG")
    extras = arg.removeprefix("EXTRAS=")
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys() - {"dev", "bench"}
    assert f"[{extras}]" in section("post")
    assert all("pip install" not in run or "==" not in run for run in of("RUN"))


@pytest.mark.parametrize("line", of("RUN"))
def test_every_run_line_is_valid_shell(line):
    check_shell(line)


@pytest.mark.parametrize("path", sorted((ROOT / "container").rglob("*.sh")), ids=str)
def test_every_script_is_valid_shell(path):
    check_shell(path.read_text())
    assert os.access(path, os.X_OK)


def check_shell(text: str) -> None:
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_compose_refers_to_existing_stages_and_commands():
    assert COMPOSE["services"].keys() == {"train", "score"}
    for service in COMPOSE["services"].values():
        assert (ROOT / service["build"]["context"] / "Dockerfile").is_file()
        assert service["build"]["target"] in STAGES
        assert service["image"] == f"innflow:{PROJECT['version']}"
        assert set(service.get("entrypoint", [])) <= PROJECT["scripts"].keys()
        (gpu,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert (gpu["driver"], gpu["capabilities"]) == ("nvidia", ["gpu"])
        places = dict(volume.split(":") for volume in service["volumes"])
        assert {p for p in places if not p.startswith(".")} == COMPOSE["volumes"].keys()
        volumes = json.loads(in_stage("train", "VOLUME")[0])
        assert all(target.startswith(tuple(volumes)) for target in places.values())
    experiment = COMPOSE["services"]["train"]["command"][0].removeprefix("+experiment=")
    assert (ROOT / f"conf/experiment/{experiment}.yaml").is_file()


def test_compose_holds_no_secret_and_keeps_wandb_offline():
    for service in COMPOSE["services"].values():
        assert service["environment"] == {"WANDB_MODE": "${WANDB_MODE:-offline}"}
        (keys,) = service["env_file"]
        assert keys["required"] is False
        assert ignored(keys["path"])
    for path in ("compose.yaml", "Dockerfile", "container/innflow.def"):
        assert not re.search(r"(?i)(key|secret|token|password)\w*\s*[=:]\s*\w{8,}", read(path))


def read(path: str) -> str:
    return (ROOT / path).read_text().replace("AWS_ACCESS_KEY_ID=...", "")


def section(name: str) -> str:
    match = re.search(rf"^%{name}\n((?:(?!%).*\n)*)", read("container/innflow.def"), re.MULTILINE)
    assert match
    return match[1]


def test_apptainer_image_has_the_same_sources():
    text = read("container/innflow.def")
    assert f"From: {STAGES['base']}\n" in text
    sources = [line.split()[0] for line in section("files").strip().splitlines()]
    assert set(sources) == {*copied()} - {"container/batch/job.py"}
    assert all((ROOT / source).exists() for source in sources)
    entry = re.search(r"exec (\S+)", section("runscript"))
    assert entry
    assert entry[1] in PROJECT["scripts"]
    for name in ("post", "environment", "runscript", "test"):
        check_shell(section(name))


def test_cluster_script_resumes_a_run(tmp_path):
    (tmp_path / "srun").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    line = ["bash", ROOT / "container/slurm.sh", "+experiment=moons", "name=a b"]

    def call() -> list[str]:
        return subprocess.check_output(line, cwd=tmp_path, env=env, text=True).splitlines()

    expected = ["apptainer", "run", "--nv", "innflow.sif", "+experiment=moons", "name=a b"]
    assert call() == [*expected, "run_dir=outputs/slurm-7"]
    (tmp_path / "outputs/slurm-7/checkpoints").mkdir(parents=True)
    (tmp_path / "outputs/slurm-7/checkpoints/last.ckpt").touch()
    assert call() == [*expected, "run_dir=outputs/slurm-7", "ckpt=last"]


SWEEP = ["+experiment=moons", "model.depth=4,8", "seed=1,2,3", "data.noise=[0.1,0.2]"]


def test_sweep_is_expanded_as_by_hydra():
    runs = job.expand(SWEEP)
    assert len(runs) == 6
    assert runs[4] == ["+experiment=moons", "model.depth=8", "seed=2", "data.noise=[0.1,0.2]"]
    assert job.expand(["seed=1"]) == [["seed=1"]]


def test_container_runs_and_resumes_its_own_run_of_the_sweep(tmp_path):
    (tmp_path / "innflow-train").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "innflow-train").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "AWS_BATCH_JOB_ID": "a:4"}
    env |= {"AWS_BATCH_JOB_ARRAY_INDEX": "4", "INNFLOW_SWEEP": "depths"}
    line = [sys.executable, str(BATCH / "job.py"), *SWEEP]

    def call() -> list[str]:
        return subprocess.check_output(line, cwd=tmp_path, env=env, text=True).splitlines()

    expected = [*job.expand(SWEEP)[4], "run_dir=outputs/depths/4"]
    assert call() == expected
    (tmp_path / "outputs/depths/4/checkpoints").mkdir(parents=True)
    (tmp_path / "outputs/depths/4/checkpoints/last.ckpt").touch()
    assert call() == [*expected, "ckpt=last"]


@pytest.fixture
def batch(monkeypatch):
    """Start a queue of AWS Batch on a server on loopback and yield a client for it."""
    monkeypatch.setitem(default_user_config, "batch", {"use_docker": False})
    with serving() as server:
        lead_to(server, monkeypatch)
        role = boto3.client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")
        client = boto3.client("batch")
        machines = client.create_compute_environment(
            computeEnvironmentName="gpus",
            type="UNMANAGED",
            state="ENABLED",
            serviceRole=role["Role"]["Arn"],
        )["computeEnvironmentArn"]
        order = [{"order": 1, "computeEnvironment": machines}]
        client.create_job_queue(
            jobQueueName="queue", state="ENABLED", priority=1, computeEnvironmentOrder=order
        )
        yield client


IMAGE, SECRET = "1.dkr.ecr.us-east-1.amazonaws.com/innflow:0.1.0", "arn:aws:secretsmanager:x:1:y"


@pytest.mark.extended
def test_sweep_on_batch_is_one_array_job(batch, capsys):
    def say(*arguments: str) -> str:
        submit.main(arguments)
        return capsys.readouterr().out.strip()

    more = ["--secret", f"WANDB_API_KEY={SECRET}"]
    arn = say("register", "--image", IMAGE, "--filesystem", "fs-1", *more)
    (known,) = batch.describe_job_definitions(jobDefinitionName="innflow")["jobDefinitions"]
    assert known["jobDefinitionArn"] == arn
    inside = known["containerProperties"]
    assert inside["image"] == IMAGE
    assert inside["secrets"] == [{"name": "WANDB_API_KEY", "valueFrom": SECRET}]
    assert {"type": "GPU", "value": "1"} in inside["resourceRequirements"]
    assert inside["volumes"][0]["efsVolumeConfiguration"]["fileSystemId"] == "fs-1"
    assert {m["containerPath"] for m in inside["mountPoints"]} <= {"/data", "/cache", "/runs"}

    many = say("submit", "--queue", "queue", "--name", "depths", *SWEEP)
    one = say("submit", "--queue", "queue", "--name", "single", "+experiment=moons")
    jobs = {found["jobId"]: found for found in batch.describe_jobs(jobs=[many, one])["jobs"]}
    assert jobs[many]["arrayProperties"]["size"] == 6
    assert jobs[many]["container"]["command"] == SWEEP
    assert {"name": "INNFLOW_SWEEP", "value": "depths"} in jobs[many]["container"]["environment"]
    assert not jobs[one].get("arrayProperties")
    assert json.loads(say("describe", one))["status"] == jobs[one]["status"]
    assert json.loads(say("describe", many))["status"] == jobs[many]["status"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["submit", "--queue", "none", "--name", "a", "seed=1"], "submit.py: "),
        (["submit", "--queue", "queue", "--name", "a/b", "seed=1"], "--name a/b: must be"),
        (["submit", "--queue", "queue", "--name", "a", "seed=range(10001)"], "10,001 runs"),
        (["describe", "5d4c0f2e-0000-0000-0000-000000000000"], "no such job"),
        (
            ["register", "--image", IMAGE, "--filesystem", "fs-1", "--secret", "KEY=hush"],
            "give the ARN",
        ),
    ],
)
def test_errors_of_batch_are_one_line(arguments, says, batch):
    if arguments[0] == "submit" and "a/b" not in arguments:
        submit.register(batch, submit.fill(IMAGE, "fs-1"))
    with pytest.raises(SystemExit) as caught:
        submit.main(arguments)
    line = str(caught.value)
    assert says in line
    assert "\n" not in line
    assert "hush" not in line


def test_job_definition_retries_lost_machines_and_holds_no_secret():
    text = (BATCH / "job-definition.json").read_text()
    definition = json.loads(text)
    assert definition["containerProperties"]["secrets"] == []
    assert definition["retryStrategy"]["attempts"] > 1
    assert definition["containerProperties"]["user"] == in_stage("batch", "USER")[-1]
    assert "AKIA" not in text
    names = {pair["name"] for pair in definition["containerProperties"]["environment"]}
    assert names == {"WANDB_MODE", "INNFLOW_DATA", "INNFLOW_CACHE"}


def test_files_and_targets_on_the_page_exist():
    page = (ROOT / "docs/containers.md").read_text()
    for path in re.findall(r"container/[\w./-]+\w", page):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"--target (\w+)", page):
        assert target in STAGES
