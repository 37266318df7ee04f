"""Statuses of objects in a cluster: A7, A8, D3, G8, G9 of galley-and-kubernetes.md."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mast.common.etcd import Compare, EtcdConfig, Leadership, Put, connect
from mast.common.keys import leader_key
from mast.common.kubernetes import connect as connect_kubernetes
from mast.common.kubernetes.objects import (
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    Object,
    Resource,
)
from mast.common.process.telemetry import Metrics
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.kinds import VIRTUAL_SERVICE
from mast.galley.core.analysis.snapshot import Message, View
from mast.galley.core.observed import Observed
from mast.galley.kubernetes.analysis import Analysis, Scope
from mast.galley.kubernetes.leading import ANALYSIS, GATEWAYS, INGRESS, Leading
from mast.galley.kubernetes.metrics import KubernetesMetrics, StatusMetrics
from mast.galley.kubernetes.statuses import Statuses
from tests.fakes.kubernetes.kinds import CRDS, INGRESS_CLASSES, INGRESSES, SERVICES
from tests.fakes.kubernetes.server import api_server
from tests.integration.galley.statuses_site import (
    Site,
    a_definition,
    a_route,
    codes,
    now,
    reasons,
)
from tests.support.custom_resources import definitions
from tests.support.etcd_server import EtcdServer
from tests.support.pilot_process import pilot_process
from tests.support.service_process import forked_service
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUTES = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService")
GATEWAY_KIND = Resource("gateway.networking.k8s.io", "v1", "gateways", "Gateway")
HTTP_ROUTES = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
MERGE = "application/merge-patch+json"
OTHERS = {"type": "Theirs", "status": "True", "reason": "Because", "message": ""}
CONTROLLER = "istio.io/gateway-controller"
SOURCE = "galley-source-kubernetes"


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared_etcd: EtcdServer) -> AsyncIterator[Site]:
    root = f"/{secrets.token_hex(8)}"
    async with (
        api_server() as cluster,
        connect(EtcdConfig(endpoints=(shared_etcd.endpoint,), root=root)) as store,
    ):
        for namespace in ("istio-system", "shop"):
            cluster.objects.create(NAMESPACES, "", {"metadata": {"name": namespace}})
        for name in ("VirtualService", "Gateway"):
            cluster.objects.create(CRDS, "", dict(definitions()[f"networking.istio.io/{name}"]))
        yield Site(cluster, store, Metrics("galley"), shared_etcd.endpoint, root)


async def test_findings_are_told_in_the_status_until_they_are_mended(site: Site) -> None:
    """G9; others' conditions and the generation stay, only Istio's kinds are told."""
    site.create(ROUTES, "web", **a_route("web"))
    site.create(ROUTES, "good", **a_route("web", "b.com"))
    site.cluster.objects.patch(
        ROUTES, "shop", "web", {"status": {"conditions": [OTHERS]}}, MERGE, "status"
    )
    async with site.galley("one"):
        await until(lambda: codes(site.status(ROUTES, "web")) == ["IST0101"])
        status = site.status(ROUTES, "web")
        assert status == {
            "conditions": [OTHERS],
            "observedGeneration": 1,
            "validationMessages": [
                {
                    "type": {"name": "ReferencedResourceNotFound", "code": "IST0101"},
                    "level": "ERROR",
                    "documentationUrl": "docs/analysis.md#ist0101",
                }
            ],
        }
        assert site.get(ROUTES, "web")["metadata"]["generation"] == 1
        assert site.cluster.objects.get(NAMESPACES, "", "shop")["status"] == {"phase": "Active"}
        web = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}
        site.create(SERVICES, "web", spec=web)
        await until(lambda: not codes(site.status(ROUTES, "web")))
        assert site.status(ROUTES, "web") == {"conditions": [OTHERS], "observedGeneration": 1}
        assert site.writes(ROUTES, "web") <= 3  # One more if it was in conflict.
        site.cluster.objects.patch(ROUTES, "shop", "good", a_route("gone", "b.com"), MERGE)
        await until(lambda: site.status(ROUTES, "good").get("observedGeneration") == 2)
        assert codes(site.status(ROUTES, "good")) == ["IST0101"]
    assert 'galley_status_updates{kind="networking.istio.io/VirtualService"}' in (
        site.metrics.render()
    )


async def test_what_was_told_before_a_restart_is_cleared_after_it(site: Site) -> None:
    told = [{"type": {"name": "InternalError", "code": "IST0001"}, "level": "ERROR"}]
    site.create(ROUTES, "web", spec={"hosts": ["a.com"], "http": [{"redirect": {"uri": "/"}}]})
    status = {"status": {"validationMessages": told, "observedGeneration": "1"}}
    site.cluster.objects.patch(ROUTES, "shop", "web", status, MERGE, "status")
    async with site.galley("one"):
        await until(lambda: not codes(site.status(ROUTES, "web")))
        assert site.status(ROUTES, "web") == {"observedGeneration": "1"}


async def test_a_newer_analysis_makes_an_older_one_void(site: Site) -> None:
    """Nothing else waits meanwhile, and the next one comes to its end."""
    site.create(ROUTES, "one", **a_route("web"))
    gate, begun, seen = threading.Event(), threading.Event(), []

    def slow(_: View) -> Sequence[Message]:
        begun.set()
        gate.wait(60)
        return ()

    def last(view: View) -> Sequence[Message]:
        seen.append(len(view.of(VIRTUAL_SERVICE)))
        return ()

    inputs = frozenset({VIRTUAL_SERVICE})
    analyzers = [Analyzer(each.__name__, "", frozenset(), inputs, each) for each in (slow, last)]
    observed = Observed()
    observed.put(ROUTES, "shop", "one", site.get(ROUTES, "one"))
    metrics = KubernetesMetrics(site.metrics)
    superseded = 'galley_analysis_runs{result="superseded"} 1'
    async with (
        connect_kubernetes(site.cluster.access()) as api,
        site.store.elect("job", "one") as leadership,
        asyncio.TaskGroup() as tasks,
    ):
        scope = Scope(
            namespace="istio-system",
            revision="default",
            domain="cluster.local",
            cluster="Kubernetes",
            secrets=True,
        )
        analysis = Analysis(
            api,
            site.store,
            observed,
            scope,
            timedelta(seconds=2),
            metrics.analysis,
            metrics.statuses,
            lambda: 0.0,
            analyzers,
        )
        running = tasks.create_task(analysis.run(leadership))
        await until(begun.is_set)
        site.create(ROUTES, "two", **a_route("web"))
        observed.put(ROUTES, "shop", "two", site.get(ROUTES, "two"))
        await until(lambda: superseded in site.metrics.render())
        assert not seen
        gate.set()
        await until(lambda: bool(seen))
        running.cancel()
    assert seen == [2]


def a_parent(status: str, reason: str, generation: int = 1) -> Object:
    condition = {
        "type": "Accepted",
        "status": status,
        "reason": reason,
        "message": "",
        "observedGeneration": generation,
    }
    entry = {"parentRef": {"name": "gw"}, "controllerName": CONTROLLER, "conditions": [condition]}
    return {"parents": [entry]}


async def test_conditions_of_gateway_api_are_pilots_beside_those_of_others(site: Site) -> None:
    theirs = {"parentRef": {"name": "x"}, "controllerName": "a.com/b", "conditions": [OTHERS]}
    site.cluster.objects.create(CRDS, "", a_definition(HTTP_ROUTES))
    site.create(HTTP_ROUTES, "web", spec={"parentRefs": [{"name": "gw"}]})
    status = {"status": {"parents": [theirs]}}
    site.cluster.objects.patch(HTTP_ROUTES, "shop", "web", status, MERGE, "status")

    def own() -> Mapping[str, Any]:
        parents = site.status(HTTP_ROUTES, "web")["parents"]
        assert parents[0] == theirs
        return dict(parents[1]["conditions"][0]) if len(parents) > 1 else {}

    async with site.galley("one"):
        await site.told("HTTPRoute", "web", a_parent("True", "Accepted"))
        await until(lambda: own().get("reason") == "Accepted")
        since = own()["lastTransitionTime"]
        assert datetime.fromisoformat(since) <= now()
        await site.told("HTTPRoute", "web", a_parent("True", "Accepted", generation=2))
        await site.told("HTTPRoute", "web", a_parent("False", "NoMatchingParent"))
        await until(lambda: own().get("reason") == "NoMatchingParent")
        assert site.get(HTTP_ROUTES, "web")["metadata"]["generation"] == 1
        await site.told("HTTPRoute", "web", a_parent("True", "Accepted"), "files")
        await until(lambda: not own())


async def test_what_pilot_makes_of_objects_is_in_their_statuses(site: Site, tmp_path: Path) -> None:
    """From the API server through etcd to a Pilot, and back."""
    for each in (GATEWAY_KIND, HTTP_ROUTES):
        site.cluster.objects.create(CRDS, "", a_definition(each))
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    site.create(GATEWAY_KIND, "gw", spec={"gatewayClassName": "istio", "listeners": [listener]})
    site.create(HTTP_ROUTES, "web", spec={"parentRefs": [{"name": "gw", "sectionName": "no"}]})

    def route() -> Mapping[str, str]:
        parents = site.status(HTTP_ROUTES, "web").get("parents") or [{"conditions": []}]
        return reasons(parents[0]["conditions"])

    flags = ("--etcd-root", site.root, "--identity", "p")
    async with site.galley("one"), pilot_process(site.etcd, tmp_path, *flags):
        await until(lambda: route().get("Accepted") == "!NoMatchingParent")
        backend = {"rules": [{"backendRefs": [{"name": "ghost", "port": 80}]}]}
        spec = {"parentRefs": [{"name": "gw"}], **backend}
        site.cluster.objects.patch(HTTP_ROUTES, "shop", "web", {"spec": spec}, MERGE)
        accepted = {"Accepted": "Accepted", "ResolvedRefs": "!BackendNotFound"}
        await until(lambda: accepted.items() <= route().items())
        (parent,) = site.status(HTTP_ROUTES, "web")["parents"]
        assert {each["observedGeneration"] for each in parent["conditions"]} == {2}
        await until(lambda: bool(site.status(GATEWAY_KIND, "gw").get("listeners")))
        status = site.status(GATEWAY_KIND, "gw")
        assert reasons(status["conditions"]) == {"Accepted": "Accepted", "Programmed": "Programmed"}
        kinds = [each["kind"] for each in status["listeners"][0]["supportedKinds"]]
        assert kinds == ["HTTPRoute", "GRPCRoute"]
        await until(lambda: site.status(GATEWAY_KIND, "gw")["listeners"][0]["attachedRoutes"] == 1)
        site.cluster.objects.delete(HTTP_ROUTES, "shop", "web")
        await until(lambda: site.status(GATEWAY_KIND, "gw")["listeners"][0]["attachedRoutes"] == 0)
        assert [e.key.rpartition("/")[2] for e in await site.published()] == ["gw"]


async def test_ingresses_of_ours_tell_where_the_gateway_is_reached(site: Site) -> None:
    gateway = {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80}]}
    body = {"metadata": {"name": "istio-ingressgateway"}, "spec": gateway}
    site.cluster.objects.create(SERVICES, "istio-system", body)
    site.create(INGRESS_CLASSES, "ours", spec={"controller": "istio.io/ingress-controller"})
    for name in ("ours", "theirs"):
        site.create(INGRESSES, name, spec={"ingressClassName": name})

    def balanced(addresses: list[Mapping[str, str]]) -> None:
        status = {"status": {"loadBalancer": {"ingress": addresses}}}
        names = ("istio-system", "istio-ingressgateway")
        site.cluster.objects.patch(SERVICES, *names, status, MERGE, "status")

    balanced([{"ip": "192.0.2.1"}])
    async with site.galley("one"):
        expected = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
        await until(lambda: site.status(INGRESSES, "ours") == expected)
        balanced([{"hostname": "lb.example"}])
        expected = {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}
        await until(lambda: site.status(INGRESSES, "ours") == expected)
    assert not site.status(INGRESSES, "theirs")


async def test_the_default_revision_does_the_jobs(site: Site) -> None:
    """Another one does while there is none; the tag says which it is (A7)."""
    for revision in ("default", "canary"):
        labelled = {"name": revision, "labels": {"istio.io/rev": revision}}
        site.create(ROUTES, revision, **a_route("web"), metadata=labelled)
    async with site.galley("b", "canary"):
        for job in (ANALYSIS, GATEWAYS, INGRESS, SOURCE):
            await site.led_by(job, "canary/b")
        await until(lambda: site.is_stored("canary"))
        async with site.galley("a"):
            for job in (ANALYSIS, GATEWAYS, INGRESS, SOURCE):
                await site.led_by(job, "default/a")
            await until(lambda: site.is_stored("default"))
            assert not await site.is_stored("canary")
            labels = {"istio.io/tag": "default", "istio.io/rev": "canary"}
            tag = {"metadata": {"name": "istio-revision-tag-default", "labels": labels}}
            site.cluster.objects.create(MUTATING_WEBHOOK_CONFIGURATIONS, "", tag)
            await site.led_by(ANALYSIS, "canary/b")


async def test_a_leader_that_was_replaced_writes_nothing(site: Site) -> None:
    """G8: not even if it has not heard of it, and not what it decided before."""
    site.create(ROUTES, "web", **a_route("web"))
    observed = Observed()
    found = site.get(ROUTES, "web")
    observed.put(ROUTES, "shop", "web", found)
    metrics = StatusMetrics(site.metrics)

    def statuses(leadership: Leadership, change: Callable[..., Object]) -> Statuses:
        return Statuses(api, site.store, observed, leadership, change, metrics, lambda: 0.0)

    key = ("networking.istio.io/VirtualService", "shop", "web")
    begun: list[int] = []

    async def job(leadership: Leadership) -> None:
        begun.append(leadership.fence)
        if len(begun) == 1:
            await site.store.delete(leader_key(INGRESS))
            stale = statuses(leadership, lambda *_: {"observedGeneration": 7})
            stale.work.add(key)
            await stale.run()
        await asyncio.Event().wait()

    async with connect_kubernetes(site.cluster.access()) as api, asyncio.TaskGroup() as jobs:
        leading = jobs.create_task(Leading(site.store, "old", "default").run(INGRESS, job))
        await until(lambda: len(begun) == 2)
        assert "status" not in site.get(ROUTES, "web")
        async with site.store.elect("job", "new") as new, asyncio.TaskGroup() as tasks:
            site.cluster.objects.patch(
                ROUTES, "shop", "web", {"status": {"observedGeneration": 1}}, MERGE, "status"
            )
            late = statuses(new, lambda *_: {"observedGeneration": 7})
            late.work.add(key)
            running = tasks.create_task(late.run())
            failed = 'galley_status_update_error{kind="networking.istio.io/VirtualService"'
            await until(lambda: failed in site.metrics.render())
            running.cancel()
        leading.cancel()
    assert site.status(ROUTES, "web") == {"observedGeneration": 1}


async def test_a_galley_that_was_killed_is_replaced(site: Site, tmp_path: Path) -> None:
    """G8: configuration and statuses go on by another process once the leases have ended."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(site.cluster.kubeconfig())
    flags = (
        *("--kubeconfig", kubeconfig, "--etcd-endpoints", site.etcd, "--etcd-root", site.root),
        *("--monitoring-listen", "127.0.0.1:0", "--root-maps", "false"),
        *("--kubernetes-services", "false", "--enableAnalysis", "true"),
    )
    jobs = (ANALYSIS, GATEWAYS, INGRESS, SOURCE)
    site.create(ROUTES, "before", **a_route("web"))
    async with forked_service("galley", *flags) as first:
        for job in jobs:
            await first.logged("leader.elected", what=job)
        await until(lambda: codes(site.status(ROUTES, "before")) == ["IST0101"])
        fence = await site.fence(SOURCE)
        async with forked_service("galley", *flags) as second:

            async def ready() -> bool:
                return (await second.get("/ready"))[0] == 200

            await until(ready)
            first.process.kill()
            site.create(ROUTES, "after", **a_route("web", "b.com"))
            await until(lambda: codes(site.status(ROUTES, "after")) == ["IST0101"], seconds=60)
            await until(lambda: site.is_stored("after"), seconds=60)
            for job in jobs:
                await second.logged("leader.elected", what=job)
    late = await site.store.txn([Compare.created(leader_key(SOURCE), fence)], [Put("late", b"")])
    assert not late.succeeded
