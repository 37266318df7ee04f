"""Statuses of Ingresses: whose they are, where the gateway is reached (D3)."""

from __future__ import annotations

from typing import Any

import pytest

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.galley.core.status.ingress import is_ours, load_balancer, reached, service_name

OFF, DEFAULT = MeshConfig.OFF, MeshConfig.DEFAULT
OUR_CLASS = {"spec": {"controller": "istio.io/ingress-controller"}}
CLASSES: dict[str, Any] = {"ours": OUR_CLASS, "theirs": {"spec": {"controller": "a.com/b"}}}
ANNOTATION = "kubernetes.io/ingress.class"


@pytest.mark.parametrize(
    ("annotation", "named", "mesh", "ours"),
    [
        pytest.param("istio", None, {}, True, id="annotation"),
        pytest.param("mesh", None, {"ingress_class": "mesh"}, True, id="annotation-of-the-mesh"),
        pytest.param("nginx", "ours", {}, False, id="annotation-wins"),
        pytest.param(None, "ours", {}, True, id="class"),
        pytest.param(None, "theirs", {"ingress_controller_mode": DEFAULT}, False, id="other-class"),
        pytest.param(None, "unknown", {}, False, id="unknown-class"),
        pytest.param(None, None, {}, False, id="nothing"),
        pytest.param(None, None, {"ingress_controller_mode": DEFAULT}, True, id="default"),
        pytest.param("istio", None, {"ingress_controller_mode": OFF}, False, id="off"),
    ],
)
def test_whose(annotation: str | None, named: str | None, mesh: Any, ours: bool) -> None:
    annotations = {ANNOTATION: annotation} if annotation else None
    spec = {"ingressClassName": named} if named else None
    ingress: Any = {"metadata": {"annotations": annotations}, "spec": spec}
    assert is_ours(ingress, MeshConfig(**mesh), CLASSES.get) is ours


def test_the_service() -> None:
    assert service_name(MeshConfig()) == "istio-ingressgateway"
    assert service_name(MeshConfig(ingress_service="edge")) == "edge"


@pytest.mark.parametrize(
    ("service", "points"),
    [
        pytest.param(None, [], id="none"),
        pytest.param(
            {"spec": {"externalIPs": ["2001:db8::1", "192.0.2.9"]}},
            [{"ip": "192.0.2.9"}, {"ip": "2001:db8::1"}],
            id="external-ips",
        ),
        pytest.param(
            {"status": {"loadBalancer": {"ingress": [{"hostname": "lb"}, {"ip": "192.0.2.1"}]}}},
            [{"ip": "192.0.2.1"}, {"hostname": "lb"}],
            id="load-balancer",
        ),
        pytest.param(
            {"spec": {"type": "ExternalName", "externalName": "a.com", "externalIPs": ["1.1.1.1"]}},
            [{"hostname": "a.com"}],
            id="external-name",
        ),
    ],
)
def test_where(service: Any, points: Any) -> None:
    assert load_balancer(service) == points


@pytest.mark.parametrize(
    ("found", "wanted", "change"),
    [
        pytest.param(None, ["a"], ["a"], id="new"),
        pytest.param(["a"], ["a"], None, id="same"),
        pytest.param(["a"], [], [], id="none-any-more"),
    ],
)
def test_change(found: Any, wanted: Any, change: Any) -> None:
    def status(names: list[str] | None) -> Any:
        points = [{"hostname": each} for each in names or ()]
        return {} if names is None else {"loadBalancer": {"ingress": points}}

    points = [{"hostname": each} for each in wanted]
    assert reached(status(found), points) == (None if change is None else status(change))


def test_what_others_say_of_an_address_stays() -> None:
    ports = {"ip": "192.0.2.1", "ports": [{"port": 80, "protocol": "TCP"}]}
    found = {"loadBalancer": {"ingress": [ports]}}
    wanted = [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]
    assert reached(found, wanted) == {"loadBalancer": {"ingress": [ports, {"ip": "192.0.2.2"}]}}
