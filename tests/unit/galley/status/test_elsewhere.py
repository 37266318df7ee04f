"""What the store has that does not come from the cluster that is analyzed."""

from __future__ import annotations

from typing import Any

import pytest

from mast.common import keys
from mast.galley.core.objects import Defaults, read_text
from mast.galley.core.resources import resource
from mast.galley.core.status.elsewhere import stored_items
from mastapi.registry.v1.registry_pb2 import Service, Workload

CONFIG = "config/istio/networking/v1alpha3/sidecars/shop/a"
SERVICE = keys.service_key("shop", "a.com")
WORKLOAD = keys.workload_key("here", "shop", "a")


def a_sidecar(**annotations: str) -> bytes:
    text = (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"
        f"metadata: {{name: a, namespace: shop, annotations: {annotations}}}\n"
        "spec: {egress: [{hosts: ['./*']}]}\n"
    )
    (obj,) = read_text(text, "", Defaults()).objects
    return resource(obj, 1, None).SerializeToString()


def a_service(**fields: Any) -> bytes:
    return Service(host="a.com", namespace="shop", **fields).SerializeToString()


def a_workload(**fields: Any) -> bytes:
    return Workload(name="a", namespace="shop", **fields).SerializeToString()


@pytest.mark.parametrize(
    ("key", "value", "kinds"),
    [
        pytest.param(CONFIG, a_sidecar(), ["networking.istio.io/Sidecar"], id="applied"),
        pytest.param(
            CONFIG, a_sidecar(**{"mast.io/source": "kubernetes:here"}), [], id="of-the-source"
        ),
        pytest.param(
            CONFIG,
            a_sidecar(**{"mast.io/source": "kubernetes"}),
            ["networking.istio.io/Sidecar"],
            id="of-another-cluster",
        ),
        pytest.param(CONFIG, b"\xff", [], id="unreadable"),
        pytest.param("config/odd/a", b"", [], id="odd-key"),
        pytest.param(SERVICE, a_service(), ["registry.mast/Service"], id="service"),
        pytest.param(SERVICE, a_service(registry="Kubernetes"), [], id="own-service-of-before"),
        pytest.param(
            SERVICE, a_service(registry="Kubernetes", cluster="here"), [], id="own-service"
        ),
        pytest.param(
            SERVICE,
            a_service(registry="Kubernetes", cluster="far"),
            ["registry.mast/Service"],
            id="service-of-another-cluster",
        ),
        pytest.param(WORKLOAD, a_workload(cluster="here"), [], id="own-pod"),
        pytest.param(
            WORKLOAD,
            a_workload(cluster="here", registration_group="g"),
            ["registry.mast/Workload"],
            id="machine",
        ),
    ],
)
def test_items(key: str, value: bytes, kinds: list[str]) -> None:
    assert [each.kind for each in stored_items(key, value, "here")] == kinds
