"""create-remote-secret and remote-clusters (galley-and-kubernetes.md D3, F)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mast.cli.errors import CommandError
from mast.cli.main import app
from mast.cli.offline.reading import Entry
from mast.cli.remote_commands import published, rows_of
from mast.common.keys import clusters_status_key
from mast.common.kubernetes import Access, Api, Forbidden, connect, kubeconfig
from mast.common.kubernetes.objects import NAMESPACES, SECRETS, SERVICE_ACCOUNTS, Object
from mast.common.kubernetes.remotes import remote_clusters
from mast.galley.store.registry import FOLLOWED
from mastapi.status.v1.status_pb2 import ClustersStatus, ClusterStatus
from tests.fakes.kubernetes.server import Cluster, api_server

READER = "istio-reader-service-account"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with api_server() as running:
        running.objects.create(NAMESPACES, "", {"metadata": {"name": "istio-system"}})
        yield running


async def run(cluster: Cluster, directory: Path, *arguments: str) -> tuple[Any, str]:
    """The Secret that is printed, and what is told; the command has a loop of its own."""
    file = directory / "kubeconfig"
    file.write_text(cluster.kubeconfig())
    command = ["create-remote-secret", "--kubeconfig", str(file), *arguments]
    ended = await asyncio.to_thread(CliRunner().invoke, app, command)
    if isinstance(ended.exception, CommandError):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return yaml.safe_load(ended.stdout), ended.stderr


def access_of(secret: Object, name: str) -> Access:
    return kubeconfig(secret["stringData"][name])


async def test_the_secret_lets_a_reader_read(cluster: Cluster, tmp_path: Path) -> None:
    """With the rights that it makes, and no others."""
    cluster.callers.by_roles = True
    secret, told = await run(cluster, tmp_path, "--name", "east", "--server", cluster.url)
    assert secret["metadata"] == {
        "name": "istio-remote-secret-east",
        "namespace": "istio-system",
        "annotations": {"networking.istio.io/cluster": "east"},
        "labels": {"istio/multiCluster": "true"},
    }
    assert f"made ServiceAccount {READER}" in told
    access = access_of(secret, "east")

    async def allowed(api: Api, resource: Any) -> bool:
        try:
            await api.list(resource)
        except Forbidden:
            return False
        return True

    async with connect(access) as api:
        may = [await allowed(api, each) for each in (*FOLLOWED, SECRETS)]
    assert may == [*([True] * len(FOLLOWED)), False]
    again, told = await run(cluster, tmp_path, "--name", "east", "--server", cluster.url)
    assert (again, told) == (secret, "")


async def test_galley_takes_what_is_printed(cluster: Cluster, tmp_path: Path) -> None:
    """Without a name it is the uid of kube-system, as in Istio."""
    secret, told = await run(cluster, tmp_path)
    uid = cluster.objects.get(NAMESPACES, "", "kube-system")["metadata"]["uid"]
    assert list(secret["stringData"]) == [uid]
    assert "tell --server" in told
    applied = cluster.objects.create(SECRETS, "istio-system", secret)
    assert list(remote_clusters([applied], "own").wanted) == [uid]


async def test_a_token_that_ends(cluster: Cluster, tmp_path: Path) -> None:
    secret, _ = await run(cluster, tmp_path, "--name", "east", "--duration", "1h")
    access = access_of(secret, "east")
    assert cluster.callers.caller(f"Bearer {access.token()}").name.endswith(f":{READER}")
    assert access.ca_pem == cluster.authority.pem
    assert not any(key[0] == SECRETS for key in cluster.objects.stored)


async def test_a_kubeconfig_of_an_account_that_is_there(cluster: Cluster, tmp_path: Path) -> None:
    account = ("--service-account", "mine")
    with pytest.raises(CommandError, match="404 NotFound"):
        await run(cluster, tmp_path, "--type", "config", *account)
    cluster.objects.create(SERVICE_ACCOUNTS, "istio-system", {"metadata": {"name": "mine"}})
    secret, _ = await run(cluster, tmp_path, "--type", "config", "--name", "east", *account)
    assert secret["metadata"]["name"] == "istio-kubeconfig"
    assert "labels" not in secret["metadata"]
    token = access_of(secret, "config").token()
    assert cluster.callers.caller(f"Bearer {token}").name.endswith(":mine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--auth-type", "plugin"], "Galley refuses them", id="plugin"),
        pytest.param(["--name", "East_1"], "no cluster id", id="name"),
        pytest.param(["--duration", "long"], "--duration: 'long' is no duration", id="duration"),
        pytest.param(["--duration", "1s"], "less than 10 minutes", id="short"),
        pytest.param(["--no-create-service-account"], "404 NotFound", id="no-account"),
        pytest.param(["--context", "nowhere"], "no entry 'nowhere'", id="context"),
    ],
)
async def test_what_cannot_be_done(
    cluster: Cluster, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        await run(cluster, tmp_path, *arguments)


STATUSES = [
    ClustersStatus(
        replica=replica,
        revision="canary",
        clusters=[
            ClusterStatus(cluster="main", status="synced"),
            ClusterStatus(cluster="east", secret="istio-system/e", status="timeout", detail="401"),  # noqa: S106
        ],
    )
    for replica in ("galley-0", "galley-1")
]


def test_clusters_of_every_replica() -> None:
    entries = [
        Entry(clusters_status_key(each.replica), each.SerializeToString()) for each in STATUSES
    ]
    found = list(published(entries))
    assert rows_of(found) == [
        ["main", "", "synced", "galley-0", "canary"],
        ["east", "istio-system/e", "timeout", "galley-0", "canary"],
        ["main", "", "synced", "galley-1", "canary"],
        ["east", "istio-system/e", "timeout", "galley-1", "canary"],
    ]
    assert [each.get("detail") for each in found] == [None, "401", None, "401"]
