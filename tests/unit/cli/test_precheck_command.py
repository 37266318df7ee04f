"""precheck: what is in the way of an installation, by an API server and an etcd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest
from typer.testing import CliRunner, Result

from mast.cli.errors import CommandError
from mast.cli.main import app
from mast.cli.precheck_command import etcd_problems
from mast.common.etcd.stubs import rpc_pb2, rpc_pb2_grpc
from mast.common.kubernetes.objects import NAMESPACES
from tests.fakes.kubernetes.callers import Rule
from tests.fakes.kubernetes.kinds import CRDS
from tests.support.custom_resources import definitions
from tests.support.live_cluster import LiveCluster, live_cluster

VIRTUAL_SERVICE = "networking.istio.io/VirtualService"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    with live_cluster(tmp_path_factory.mktemp("kube")) as running:
        body = {"metadata": {"name": "istio-system"}}
        running.cluster.objects.create(NAMESPACES, "", body)
        yield running


def run(cluster: LiveCluster, *arguments: str) -> Result:
    told = ["precheck", *arguments, "--kubeconfig", str(cluster.kubeconfig)]
    return CliRunner().invoke(app, told)


def found(cluster: LiveCluster, *arguments: str) -> list[tuple[str, str]]:
    data = json.loads(run(cluster, "-o", "json", *arguments).stdout)
    return [(each["code"], each["message"]) for each in data]


def test_nothing_is_in_the_way(cluster: LiveCluster) -> None:
    cluster.cluster.objects.create(CRDS, "", dict(definitions()[VIRTUAL_SERVICE]))
    result = run(cluster)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No issues found when checking the cluster" in result.stderr
    assert CliRunner().invoke(app, ["x", "precheck", "--help"]).exit_code == 0


def test_an_old_cluster(cluster: LiveCluster) -> None:
    cluster.cluster.version = "v1.21.9"
    result = run(cluster)
    cluster.cluster.version = "v1.33.1"
    assert isinstance(result.exception, CommandError)
    assert result.exception.status == 79
    assert result.stdout == (
        "Error [IST0142] Kubernetes v1.21.9 is not supported; want 1.22 or newer\n"
    )


def test_rights_that_lack(cluster: LiveCluster) -> None:
    refused = cluster.cluster.callers.refused
    refused += [Rule("create", "clusterroles"), Rule("create", "secrets", "istio-system")]
    told = found(cluster)
    elsewhere = found(cluster, "-i", "another")
    refused.clear()
    assert told == [
        ("IST0141", "there is no right to create clusterroles.rbac.authorization.k8s.io"),
        ("IST0141", "there is no right to create secrets"),
    ]
    assert elsewhere == told[:1]


def test_upgrades_are_warnings(cluster: LiveCluster) -> None:
    result = run(cluster, "--from-version", "1.4.10")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines
    assert all(each.startswith("Warning [IST0169] from 1.4.10: ") for each in lines)


class Member(rpc_pb2_grpc.MaintenanceServicer):
    """An etcd that tells a version and its leader."""

    def __init__(self, version: str, leader: int) -> None:
        self._told = rpc_pb2.StatusResponse(version=version, leader=leader)

    async def Status(self, request: Any, context: Any) -> rpc_pb2.StatusResponse:
        del request, context
        return self._told


@pytest.mark.parametrize(
    ("version", "leader", "words"),
    [
        ("3.5.9", 7, []),
        ("3.3.27", 7, ["etcd 3.3.27; want 3.4 or newer"]),
        ("3.6.0", 0, ["the members have no leader"]),
    ],
)
async def test_etcd(version: str, leader: int, words: list[str]) -> None:
    server = grpc.aio.server()
    rpc_pb2_grpc.add_MaintenanceServicer_to_server(Member(version, leader), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    problems = await etcd_problems([f"http://{address}"], None, None, None)
    await server.stop(None)
    assert problems == [f"{address}: {each}" for each in words]


async def test_an_etcd_that_is_not_there() -> None:
    (problem,) = await etcd_problems(["127.0.0.1:1"], None, None, None)
    assert problem.startswith("127.0.0.1:1: UNAVAILABLE")
