"""One cluster of Spark for all tests of a process that ask for it: to start one takes longer than most of them."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from heliograph.engines.spark import SparkEngine
from spark_cluster import SparkCluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Let what py4j leaves to the collector go within a test that forgives it, and not in one of something else."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    with SparkCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def spark(cluster: SparkCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkEngine]:
    """An application on the cluster, which every engine of this process has a session of for as long as it lasts."""
    with SparkEngine(cluster.settings(copies=str(tmp_path_factory.mktemp("copies")))) as engine:
        yield engine
