"""Results depend on what an egress listener showed them, not on all the mesh behind it."""

import pytest

from mast.pilot.core.scope.scope import Scope, applicable_sidecar
from mast.pilot.core.world.snapshot import MeshSnapshot
from tests.support.mesh_yaml import changes, world


def service(name: str, namespace: str, port: int = 80) -> str:
    return f"""
apiVersion: registry.mast/v1
kind: Service
metadata: {{name: {name}, creationTimestamp: 2020-01-01T00:00:00Z}}
spec:
  host: {name}.{namespace}.svc.cluster.local
  namespace: {namespace}
  registry: Kubernetes
  ports: [{{name: http, number: {port}, protocol: HTTP}}]
---
"""


def virtual_service(namespace: str, host: str, seconds: int = 1) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: {namespace}, creationTimestamp: 2020-01-01T00:00:00Z}}
spec: {{hosts: ["{host}"], http: [{{timeout: {seconds}s, route: [{{destination: {{host: a}}}}]}}]}}
---
"""


MESH = f"""
{service("a", "shop")}{service("b", "shop")}{service("c", "bank")}
{virtual_service("shop", "a")}
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: own, namespace: shop}}
spec: {{egress: [{{hosts: ["./*"]}}]}}
"""

QUESTIONS = {
    "a": lambda egress: egress.service("a.shop.svc.cluster.local"),
    "b": lambda egress: egress.service("b.shop.svc.cluster.local"),
    "all": lambda egress: egress.services(),
    "port": lambda egress: egress.services_on(80),
    "hosts": lambda egress: egress.hosts_on(80),
    "routes-a": lambda egress: egress.virtual_service("a.shop.svc.cluster.local"),
    "routes-b": lambda egress: egress.virtual_service("b.shop.svc.cluster.local"),
    "standalone": lambda egress: egress.standalone(),
}
LISTS = {"all", "port", "hosts", "standalone"}


def answers(snapshot: MeshSnapshot, made: list[str]) -> dict[str, object]:
    """Each question as a result of its own; `made` is told which of them had to be made."""
    everything = snapshot.scope("shop")
    scope = everything.under(applicable_sidecar(everything, {}))

    def ask(name: str, inner: Scope) -> object:
        made.append(name)
        (egress,) = inner.egress
        return QUESTIONS[name](egress)

    return {
        name: scope.cached(name, lambda inner, name=name: ask(name, inner)) for name in QUESTIONS
    }


@pytest.mark.parametrize(
    ("change", "reached"),
    [
        pytest.param(service("c", "bank", 81), set(), id="a-service-it-does-not-show"),
        pytest.param(virtual_service("bank", "c"), set(), id="routes-it-does-not-show"),
        pytest.param(service("d", "shop"), LISTS, id="a-new-service"),
        pytest.param(service("b", "shop", 81), {"b", *LISTS}, id="a-service"),
        pytest.param(virtual_service("shop", "a", 2), {"routes-a", "standalone"}, id="routes"),
        pytest.param(
            virtual_service("shop", "*.svc.cluster.local"),
            {"routes-a", "routes-b", "standalone"},
            id="routes-of-a-wildcard",
        ),
    ],
)
def test_a_change_reaches_who_was_told_what_differs(change: str, reached: set[str]) -> None:
    mesh, made = world(MESH), list[str]()
    answers(mesh.snapshot(), made)
    assert made == list(QUESTIONS)
    made.clear()
    assert not mesh.apply(changes(change))
    found = answers(mesh.snapshot(), made)
    assert set(made) == reached
    fresh = world(MESH)
    fresh.apply(changes(change))
    assert repr(found) == repr(answers(fresh.snapshot(), []))
