"""Objects of a cluster, for those who write statuses."""

from __future__ import annotations

from mast.common.kubernetes.objects import NAMESPACES, Resource
from mast.galley.core.observed import Observed

ROUTES = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService")
KIND = "networking.istio.io/VirtualService"


def test_objects_by_kind() -> None:
    observed = Observed()
    told: list[tuple[str, str, str]] = []
    observed.put(NAMESPACES, "", "shop", {"a": 1})
    with observed.telling(lambda *key: told.append(key)):
        observed.put(ROUTES, "shop", "web", {"b": 2})
        observed.put(ROUTES, "shop", "gone", {"b": 2})
        observed.put(ROUTES, "shop", "gone", None)
    assert observed.get("Namespace", "", "shop") == {"a": 1}
    assert observed.get(KIND, "shop", "web") == {"b": 2}
    assert observed.get(KIND, "shop", "gone") is observed.get("odd", "", "x") is None
    assert observed.resource(KIND) == ROUTES
    assert set(observed.names()) == {("Namespace", "", "shop"), (KIND, "shop", "web")}
    assert told == [(KIND, "shop", "web"), (KIND, "shop", "gone"), (KIND, "shop", "gone")]


def test_a_kind_that_is_gone() -> None:
    observed = Observed()
    told: list[tuple[str, str, str]] = []
    observed.put(ROUTES, "shop", "web", {"b": 2})
    with observed.telling(lambda *key: told.append(key)):
        observed.forget(KIND)
        observed.forget(KIND)
    assert told == [(KIND, "shop", "web")]
    assert observed.resource(KIND) is None
