"""Clusters that are asked about tokens and pods, on fake API servers (A4, A5).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from mast.citadel.core.impersonation import Pod
from mast.citadel.core.reviews import Unreviewable
from mast.citadel.store.clusters import Clusters, clusters
from mast.common.identity.spiffe import SpiffeId
from mast.common.kubernetes import connect
from mast.common.kubernetes.objects import NAMESPACES, PODS, SECRETS, SERVICE_ACCOUNTS, Object
from tests.fakes.kubernetes.callers import Rule
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.until import until

REVIEWS = SpiffeId("cluster.local", "shop", "reviews")


def furnish(cluster: Cluster) -> Object:
    """A namespace, an account and a pod of it on a node."""
    cluster.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
    cluster.objects.create(SERVICE_ACCOUNTS, "shop", {"metadata": {"name": "reviews"}})
    return run_pod(cluster, "reviews-1", "reviews", "node-1")


def run_pod(cluster: Cluster, name: str, account: str, node: str) -> Object:
    spec = {"serviceAccountName": account, "nodeName": node}
    cluster.objects.create(PODS, "shop", {"metadata": {"name": name}, "spec": spec})
    return cluster.objects.update(PODS, "shop", name, {"status": {"phase": "Running"}}, "status")


@pytest.fixture
async def local() -> AsyncIterator[Cluster]:
    async with api_server() as running:
        running.objects.create(NAMESPACES, "", {"metadata": {"name": "istio-system"}})
        yield running


@pytest.fixture
async def known(local: Cluster) -> AsyncIterator[Clusters]:
    async with (
        connect(local.access()) as api,
        clusters(api, "home", "istio-system") as found,
    ):
        yield found


def register(local: Cluster, name: str, **configs: str) -> None:
    data = {cluster: base64.b64encode(text.encode()).decode() for cluster, text in configs.items()}
    labels = {"istio/multiCluster": "true"}
    secret = {"metadata": {"name": name, "labels": labels}, "data": data}
    local.objects.create(SECRETS, "istio-system", secret)


async def silence(known: Clusters, cluster: str) -> str:
    """Why a cluster cannot be asked, "" if it can."""
    try:
        await known.review(cluster, "x", ["istio-ca"])
    except Unreviewable as error:
        return str(error)
    return ""


async def until_known(known: Clusters, cluster: str) -> None:
    async def answers() -> bool:
        return not await silence(known, cluster)

    await until(answers)


async def until_told(known: Clusters, cluster: str, reason: str) -> None:
    async def told() -> bool:
        return reason in await silence(known, cluster)

    await until(told)


async def test_a_pods_token(local: Cluster, known: Clusters) -> None:
    pod = furnish(local)
    token = local.callers.token("shop", "reviews", ["istio-ca"], pod=pod)
    review = await known.review("", token, ["istio-ca"])
    assert review.authenticated
    assert review.username == "system:serviceaccount:shop:reviews"
    assert "system:serviceaccounts" in review.groups
    assert review.audiences == ("istio-ca",)
    assert review.extra["authentication.kubernetes.io/pod-uid"] == (pod["metadata"]["uid"],)


@pytest.mark.parametrize(
    "kind", ["expired", "other-audience", "nonsense", "account-gone", "pod-gone"]
)
async def test_tokens_that_are_not_good(local: Cluster, known: Clusters, kind: str) -> None:
    pod = furnish(local)
    seconds = -5 if kind == "expired" else 60
    audience = "other" if kind == "other-audience" else "istio-ca"
    token = local.callers.token("shop", "reviews", [audience], pod=pod, seconds=seconds)
    if kind == "account-gone":
        local.objects.delete(SERVICE_ACCOUNTS, "shop", "reviews")
    if kind == "pod-gone":
        local.objects.delete(PODS, "shop", "reviews-1")
    asked = "a.b.c" if kind == "nonsense" else token
    assert not (await known.review("", asked, ["istio-ca"])).authenticated


async def test_pods(local: Cluster, known: Clusters) -> None:
    pod = furnish(local)
    run_pod(local, "reviews-2", "reviews", "node-2")
    run_pod(local, "ratings-1", "ratings", "node-1")
    expected = Pod("shop", "reviews-1", pod["metadata"]["uid"], "reviews", "node-1")
    assert await known.pod("", "shop", "reviews-1") == expected
    assert await known.pod("", "shop", "reviews-9") is None
    assert await known.pods_on("", "node-1", REVIEWS) == [expected]


async def test_a_server_that_refuses_or_is_away(local: Cluster, known: Clusters) -> None:
    for resource in ("tokenreviews", "pods"):
        local.callers.refused.append(Rule("*", resource))
    with pytest.raises(Unreviewable, match="TokenReview: 403"):
        await known.review("", "x", ["istio-ca"])
    with pytest.raises(Unreviewable, match="pod shop/a: 403"):
        await known.pod("", "shop", "a")
    with pytest.raises(Unreviewable, match="pods on node n: 403"):
        await known.pods_on("", "n", REVIEWS)


async def test_remote_clusters_come_change_and_go(local: Cluster, known: Clusters) -> None:
    """D3 of galley-and-kubernetes.md: cluster id to kubeconfig in labelled Secrets."""
    async with AsyncExitStack() as stack:
        east = await stack.enter_async_context(api_server())
        furnish(east)
        assert "not known" in await silence(known, "east")
        register(local, "remote-east", east=east.kubeconfig())
        await until_known(known, "east")
        token = east.callers.token("shop", "reviews", ["istio-ca"])
        assert (await known.review("east", token, ["istio-ca"])).authenticated
        assert not (await known.review("", token, ["istio-ca"])).authenticated

        moved = base64.b64encode(east.kubeconfig("stolen").encode()).decode()
        secret = {"data": {"east": moved}}
        local.objects.patch(
            SECRETS, "istio-system", "remote-east", secret, "application/merge-patch+json"
        )
        await until_told(known, "east", "401")
        register(local, "z-later", east=east.kubeconfig())
        broken = {"data": {"east": base64.b64encode(b"]").decode(), "west": moved}}
        local.objects.patch(
            SECRETS, "istio-system", "remote-east", broken, "application/merge-patch+json"
        )
        await until_told(known, "west", "401")
        assert "401" in await silence(known, "east"), "what was in force stays"
        local.objects.delete(SECRETS, "istio-system", "remote-east")
        await until_known(known, "east")
        local.objects.delete(SECRETS, "istio-system", "z-later")
        await until_told(known, "east", "'east' is not known")


async def test_remotes_that_are_not_taken(local: Cluster, known: Clusters) -> None:
    """Our own id, an id that is taken, and kubeconfigs that would run programs."""
    async with api_server() as east, api_server() as other:
        register(local, "a-east", east=east.kubeconfig(), home=other.kubeconfig())
        await until_known(known, "east")
        running = east.kubeconfig().replace("token: admin-token", "exec: {command: sh}")
        register(local, "b-east", east=other.kubeconfig(), evil=running, broken="]")
        register(local, "c-west", west=other.kubeconfig())
        await until_known(known, "west")
        asked = other.asked("POST")
        await known.review("east", "x", ["istio-ca"])
        await known.review("", "x", ["istio-ca"])
        assert other.asked("POST") == asked
        for name in ("evil", "broken"):
            assert "not known" in await silence(known, name)
