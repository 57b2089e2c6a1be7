"""The file of --cluster: what it may say, and one cluster that starts for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from distributed.deploy import Cluster

import segment_tiles.workflows
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.executors.dask_cluster.cluster_file import cluster_class, read_cluster_file
from segment_tiles.workflows.executors.dask_cluster.clusters import DescribedCluster, stop
from segment_tiles.workflows.run.segment import segment

EXAMPLES = sorted((Path(segment_tiles.workflows.__file__).parent / "deploy" / "clusters").glob("*.yaml"))
GOOD = "cluster: distributed.LocalCluster\nworkers: 1\n"
ADAPTIVE = "cluster: distributed.LocalCluster\nadapt: {}\n"


@pytest.mark.slow
def test_a_described_cluster_gives_the_same_bytes_and_gets_the_named_variables(
    scenario: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the client alone")
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "cluster: distributed.LocalCluster\n"
        "arguments: {n_workers: 0, threads_per_worker: 1, dashboard_address: ':0'}\n"
        "adapt: {maximum: 1}\n"
        "wait_seconds: 120\n"
        "environment: [AWS_SECRET_ACCESS_KEY]\n"
    )
    result = segment(scenario.config(tmp_path / "out", cluster=path), scenario.recorder())
    assert result.report["status"] == "complete"
    assert scenario.bytes_of(tmp_path / "out") == scenario.whole


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds a NoneType; the keys cluster and workers are needed"),
        ("a: [", "is not YAML"),
        ("workers: 2", "the key cluster is missing"),
        ("cluster: distributed.LocalCluster", "give either workers, a number, or adapt"),
        (GOOD + "adapt: {maximum: 2}", "give either workers, a number, or adapt"),
        (GOOD + "worker: 3", "the key worker is not known; did you mean workers?"),
        (GOOD + "path: elsewhere", "the key path is not known"),
        (ADAPTIVE.format("{maximum: 3, maximal: 3}"), r"adapt\.maximal is not known; did you mean maximum?"),
        (ADAPTIVE.format("{minimum: 3, maximum: 2}"), "minimum is 3, above maximum 2"),
        (ADAPTIVE.format("{minimum: 3}"), r"the key adapt\.maximum is missing"),
        (GOOD.replace("1", "0"), "workers is 0: .*greater than or equal to 1"),
        (GOOD.replace("distributed.LocalCluster", "LocalCluster"), "cluster is 'LocalCluster'"),
        (GOOD + "environment: [SURELY_NOT_SET]", "environment names SURELY_NOT_SET, which is not set here"),
    ],
)
def test_what_cannot_be_accepted_is_named_in_one_line(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=complaint) as caught:
        read_cluster_file(path).environment_values()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("distributed.LocalClusta", "distributed has no LocalClusta; did you mean LocalCluster?"),
        ("dask_nowhere.SomeCluster", "dask_nowhere cannot be imported .*; install what it comes in"),
        ("distributed.Client", "that is no Dask cluster class"),
    ],
)
def test_a_class_that_is_not_there(name: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(GOOD.replace("distributed.LocalCluster", name))
    with pytest.raises(UsageError, match=complaint):
        cluster_class(read_cluster_file(path))


# the object that Dask's class leaves half made complains when it is collected
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_arguments_that_the_class_does_not_take(scenario: Any, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(GOOD + "arguments: {n_workers: 0, security: 5}\n")
    with pytest.raises(UsageError, match=r"distributed\.LocalCluster does not accept its arguments"):
        segment(scenario.config(tmp_path / "out", cluster=path), scenario.recorder())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_description_and_its_class_is_one_where_it_is_installed(path: Path) -> None:
    description = read_cluster_file(path)
    pytest.importorskip(description.cluster.partition(".")[0])
    assert issubclass(cluster_class(description), Cluster)


def test_there_is_an_example_for_each_kind() -> None:
    assert {path.stem for path in EXAMPLES} == {
        "slurm",
        "pbs",
        "kubernetes",
        "kubernetes-buckets",
        "fargate-buckets",
        "gpus",
    }


def test_a_cluster_that_does_not_stop_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far_away.py").write_text(
        "from distributed import LocalCluster\n\n"
        "class FarAway(LocalCluster):\n"
        "    def close(self, timeout=None):\n"
        "        super().close(timeout)\n"
        "        raise ConnectionError('scancel: the controller does not answer')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "cluster: far_away.FarAway\nworkers: 1\narguments: {n_workers: 0, processes: false, dashboard_address: ':0'}\n"
    )
    cluster, told = DescribedCluster(read_cluster_file(path)), list[str]()
    cluster.open().close()
    stop(cluster, told.append, at_once=False)
    stop(cluster, told.append, at_once=False)  # what was stopped is not stopped again
    assert told == [
        "the cluster did not stop (scancel: the controller does not answer): see whether its jobs still run"
    ]
