"""The ready files for schedulers are accepted by the checkers of their own fields."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from segment_tiles.workflows.batch.settings import BatchSettings

DEPLOY = Path(__file__).resolve().parents[3] / "workflows" / "deploy"


def checker(name: str) -> str:
    """Return the path of a program of the extra dev, or of the system."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def check(*words: str | Path) -> None:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_accepts_the_units() -> None:
    units = sorted(DEPLOY.glob("segment-tiles-batch.*"))
    assert len(units) == 2
    check(checker("systemd-analyze"), "verify", *units)


def test_kubernetes_accepts_the_cron_job() -> None:
    check(checker("kubernetes-validate"), "--strict", DEPLOY / "kubernetes-cronjob.yaml")
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes-cronjob.yaml").read_text()))
    jobs = next(document["data"]["jobs.yaml"] for document in documents if document["kind"] == "ConfigMap")
    assert BatchSettings.model_validate(yaml.safe_load(jobs)).defaults.scheduler == (
        "tcp://segment-tiles-scheduler:8786"
    )


def test_shellcheck_accepts_the_array_script() -> None:
    check(checker("shellcheck"), DEPLOY / "slurm-array.sh")


def test_the_container_job_fits_the_schema_of_workflows() -> None:
    words = ("--builtin-schema", "vendor.github-workflows")
    check(checker("check-jsonschema"), *words, DEPLOY / "github-workflow.yaml")


def test_the_airflow_dag_is_python() -> None:
    path = DEPLOY / "airflow_dag.py"
    compile(path.read_text(), str(path), "exec")
