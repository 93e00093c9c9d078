"""AWS Batch from the command line: register the job definition, submit and describe jobs.

python container/batch/submit.py register --image IMAGE --filesystem fs-ID [--secret NAME=ARN ...]
python container/batch/submit.py submit --queue QUEUE --name NAME +experiment=moons seed=1,2,3
python container/batch/submit.py describe JOB

Region and credentials are taken from boto3: a profile, a role or environment variables.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from job import expand

DEFINITION = Path(__file__).with_name("job-definition.json")
LARGEST = 10_000
"""Largest number of jobs in an array of AWS Batch."""


def fill(image: str, filesystem: str, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """Return the job definition with its placeholders replaced.

    Args:
        image: Name and tag of an image of the Dockerfile's target `batch`.
        filesystem: Id of the EFS file system that holds data and outputs.
        secrets: NAME=ARN of secrets or parameters, passed to the container as variables.
    """
    text = DEFINITION.read_text(encoding="utf-8")
    for blank, value in (("$image", image), ("$filesystem", filesystem)):
        text = text.replace(json.dumps(blank), json.dumps(value))
    definition: dict[str, Any] = json.loads(text)
    pairs = [secret.partition("=") for secret in secrets]
    for name, _, arn in pairs:
        if not arn.startswith("arn:"):
            raise SystemExit(
                f"submit.py: --secret {name}=...: give the ARN of a secret, not its value"
            )
    definition["containerProperties"]["secrets"] = [
        {"name": name, "valueFrom": arn} for name, _, arn in pairs
    ]
    return definition


def register(client: Any, definition: dict[str, Any]) -> str:
    """Register the job definition and return its ARN, with the revision."""
    return client.register_job_definition(**definition)["jobDefinitionArn"]


def submit(client: Any, queue: str, name: str, overrides: Sequence[str], definition: str) -> str:
    """Submit one run, or all runs of a sweep as one array job; return the job id.

    Args:
        client: A boto3 client for batch.
        queue: Name or ARN of the queue.
        name: Name of the job and of the folder of its runs.
        overrides: As for `innflow-train -m`.
        definition: Name or ARN of the job definition.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w-]{0,127}", name):
        raise SystemExit(f"submit.py: --name {name}: must be letters, digits, - and _")
    runs = len(expand(overrides))
    if runs > LARGEST:
        raise SystemExit(
            f"submit.py: {runs:,} runs, but an array job has at most {LARGEST:,}: split the sweep"
        )
    array = {"arrayProperties": {"size": runs}} if runs > 1 else {}
    answer = client.submit_job(
        jobName=name,
        jobQueue=queue,
        jobDefinition=definition,
        containerOverrides={
            "command": list(overrides),
            "environment": [{"name": "INNFLOW_SWEEP", "value": name}],
        },
        **array,
    )
    return answer["jobId"]


def describe(client: Any, job: str) -> dict[str, Any]:
    """Return the status of a job, its reason, and the number of array jobs in each status."""
    found = client.describe_jobs(jobs=[job])["jobs"]
    if not found:
        raise SystemExit(f"submit.py: {job}: no such job in this region")
    counts = found[0].get("arrayProperties", {}).get("statusSummary", {})
    reason = found[0].get("statusReason")
    return {"status": found[0]["status"], **({"reason": reason} if reason else {}), **counts}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and write the answer to stdout."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("register")
    one.add_argument("--image", required=True)
    one.add_argument("--filesystem", required=True)
    one.add_argument("--secret", action="append", default=[], metavar="NAME=ARN")
    two = commands.add_parser("submit")
    two.add_argument("--queue", required=True)
    two.add_argument("--name", required=True)
    two.add_argument("--definition", default="innflow")
    two.add_argument("overrides", nargs="+")
    three = commands.add_parser("describe")
    three.add_argument("job")
    asked = parser.parse_args(arguments)
    try:
        client = boto3.client("batch")
        if asked.command == "register":
            answer = register(client, fill(asked.image, asked.filesystem, asked.secret))
        elif asked.command == "submit":
            answer = submit(client, asked.queue, asked.name, asked.overrides, asked.definition)
        else:
            answer = json.dumps(describe(client, asked.job))
    except (BotoCoreError, ClientError) as error:
        raise SystemExit(f"submit.py: {error}") from None
    sys.stdout.write(f"{answer}\n")


if __name__ == "__main__":
    main()
