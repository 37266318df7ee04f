"""Stored bytes as objects, or a reason why not."""

import pytest

from istio.mcp.v1alpha1.resource_pb2 import Resource
from istio.networking.v1alpha3.sidecar_pb2 import Sidecar
from mast.common import keys
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.decoding import Undecodable, decoded
from mast.pilot.core.model.model import Config
from mastapi.registry.v1.registry_pb2 import Service
from mastapi.trust.v1.trust_pb2 import TrustBundle

SIDECAR = keys.config_key(collection_names.SIDECARS, "shop", "s")


def stored(body: Sidecar | Service) -> bytes:
    resource = Resource()
    resource.metadata.name = "shop/s"
    resource.metadata.version = "4"
    resource.metadata.create_time.FromNanoseconds(5_000_000_007)
    resource.metadata.labels["a"] = "b"
    resource.metadata.annotations["c"] = "d"
    resource.body.Pack(body)
    return resource.SerializeToString()


def test_config() -> None:
    found = decoded(SIDECAR, stored(Sidecar()))
    assert isinstance(found, Config)
    meta = found.meta
    assert (meta.kind, meta.group, meta.api_version) == ("Sidecar", "networking.istio.io", "v1")
    assert (meta.namespace, meta.name, meta.version) == ("shop", "s", "4")
    assert meta.created == 5_000_000_007
    assert (meta.labels, meta.annotations) == ({"a": "b"}, {"c": "d"})
    assert found.spec == Sidecar()


def test_registry_and_trust() -> None:
    service = Service(host="a.test")
    assert decoded("registry/services/shop/a.test", service.SerializeToString()) == service
    assert decoded("trust/td", TrustBundle(trust_domain="td").SerializeToString()) == TrustBundle(
        trust_domain="td"
    )


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        pytest.param("config/x/s", b"", "must be config/<collection>", id="key"),
        pytest.param("config/x/y/shop/s", b"", "collection 'x/y' is unknown", id="collection"),
        pytest.param(SIDECAR, b"\xff", "Error parsing", id="no-resource"),
        pytest.param(SIDECAR, stored(Service()), "expected type.googleapis.com/istio", id="body"),
        pytest.param("registry/services/a/b", b"\xff", "mastapi.registry.v1.Service", id="message"),
        pytest.param("status/x", b"", "no kind of object is stored under 'status/x'", id="prefix"),
    ],
)
def test_what_cannot_be_decoded(key: str, value: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        decoded(key, value)
