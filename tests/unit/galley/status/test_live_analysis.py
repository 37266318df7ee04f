"""What is analyzed of a running cluster, and who is told (A8)."""

from __future__ import annotations

from typing import Any

import pytest

from mast.galley.core.analysis.analyzers import ANALYZERS
from mast.galley.core.analysis.snapshot import Item, Message
from mast.galley.core.status.live_analysis import (
    LiveAnalysis,
    Told,
    has_messages,
    items_of,
    statuses,
)

ROUTE = ("networking.istio.io/VirtualService", "shop", "web")
SERVICE = ("Service", "shop", "web")
ROOT = "istio-system"


def a_route(**metadata: Any) -> Any:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "7", **metadata},
        "spec": {"hosts": ["a.com"], "http": [{"route": [{"destination": {"host": "web"}}]}]},
        "status": {"validationMessages": ["x"], "conditions": [{"type": "A", "status": "True"}]},
    }


def a_service(**status: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"a": "b"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]},
        "status": status,
    }


def live(*objects: Any) -> LiveAnalysis:
    found = LiveAnalysis(ANALYZERS, "cluster.local")
    for each in objects:
        meta = each["metadata"]
        group = each["apiVersion"].rpartition("/")[0]
        kind = f"{group}/{each['kind']}".removeprefix("/")
        found.put((kind, meta.get("namespace", ""), meta["name"]), items_of(each, ROOT), 1)
    return found


def told(found: LiveAnalysis) -> list[str]:
    return [each.code for each in found.analysed(found.snapshot(), lambda: False).messages]


def test_an_object_without_what_changes_by_itself() -> None:
    (item,) = items_of(a_route(), ROOT)
    assert (item.kind, item.namespace, item.name) == ROUTE
    assert item.status == {"conditions": [{"type": "A", "status": "True"}]}
    assert items_of(a_route(resourceVersion="8"), ROOT) == (item,)
    (service,) = items_of(a_service(loadBalancer={}), ROOT)
    assert service.labels == {"a": "b"}
    assert (service,) == items_of(a_service(), ROOT)


@pytest.mark.parametrize(
    ("found", "revision", "count"),
    [
        pytest.param(a_route(labels={"istio.io/rev": "canary"}), "default", 0, id="other-revision"),
        pytest.param(a_route(labels={"istio.io/rev": "canary"}), "canary", 1, id="own-revision"),
        pytest.param(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": "shop", "labels": {"istio.io/rev": "canary"}},
            },
            "default",
            1,
            id="namespaces-choose",
        ),
        pytest.param({"apiVersion": "v1", "kind": "Event", "metadata": {}}, "default", 0, id="odd"),
        pytest.param({**a_route(), "spec": {"a": "\ud800"}}, "default", 0, id="unreadable"),
    ],
)
def test_what_is_looked_at(found: Any, revision: str, count: int) -> None:
    assert len(items_of(found, ROOT, revision)) == count


def test_settings_of_a_revision_are_the_mesh_s() -> None:
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio-canary", "namespace": ROOT},
        "data": {"mesh": "rootNamespace: other"},
    }
    (item,) = items_of(settings, ROOT, "canary")
    assert (item.kind, item.body.root_namespace) == ("mesh.istio.io/MeshConfig", "other")


def test_put_tells_whether_it_matters() -> None:
    found = live()
    assert found.put(ROUTE, items_of(a_route(), ROOT), 1)
    assert not found.put(ROUTE, items_of(a_route(resourceVersion="9"), ROOT), 1)
    assert found.put(ROUTE, items_of(a_route(), ROOT), 2)
    assert found.put(ROUTE, (), None)
    assert not found.put(ROUTE, (), None)
    item = Item("registry.mast/Service", "shop", "web")
    assert found.put_elsewhere("a", (item,))
    assert not found.put_elsewhere("a", (item,))
    assert found.put_elsewhere("a", ())


def test_what_is_elsewhere_counts_unless_the_cluster_has_it() -> None:
    found = live(a_route())
    assert told(found) == ["IST0101"]
    found.put_elsewhere("k", items_of(a_service(), ROOT))
    assert told(found) == []
    found.put_elsewhere("r", items_of({**a_route(), "spec": {"hosts": []}}, ROOT))
    assert told(found) == []


def test_namespaces_that_the_mesh_does_not_see_do_not_count() -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": ROOT},
        "data": {"mesh": "discoverySelectors: [{matchLabels: {a: b}}]"},
    }
    assert "IST0101" in told(live(a_route(), namespace))
    assert told(live(a_route(), namespace, settings)) == []


def test_who_is_told() -> None:
    (item,) = items_of(a_route(), ROOT)
    said = [
        Message("IST0101", item, "x"),
        Message("IST0102", Item("Namespace", "", "shop"), "x"),
        Message("IST0001", None, "x"),
    ]
    quiet = (ROUTE[0], "shop", "quiet")
    found = statuses(said, {ROUTE: 3, quiet: 1, SERVICE: 0})
    assert set(found) == {ROUTE, quiet}
    assert found[quiet] == Told(1, [])
    assert [each["type"]["code"] for each in found[ROUTE].messages] == ["IST0101"]
    assert found[ROUTE].generation == 3
    assert has_messages("config.istio.io/rule")
    assert not has_messages("gateway.networking.k8s.io/HTTPRoute")
