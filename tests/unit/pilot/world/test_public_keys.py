"""Keys of issuers in the world: what they change, and what they do not (pilot.md J3)."""

from datetime import UTC, datetime
from itertools import chain

import pytest
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from mast.common import keys
from mast.pilot.core.model.public_keys import KeySource, PublicKeys
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.resources import LDS, Collection
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys
from tests.support.golden_view import resources_of
from tests.support.mesh_yaml import Put, sidecar_proxy, world

URI = "https://a.test/keys"
KEY = keys.jwks_key(URI, "")
MESH = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web, namespace: shop},
 spec: {hosts: [web.test], resolution: STATIC, location: MESH_INTERNAL,
        workloadSelector: {labels: {app: web}}, ports: [{number: 80, name: http, protocol: HTTP}]}}
---
{apiVersion: security.istio.io/v1, kind: RequestAuthentication,
 metadata: {name: tokens, namespace: shop}, spec: {jwtRules: [{jwksUri: "https://a.test/keys"}]}}
"""
PROXY = sidecar_proxy("shop", labels={"app": "web"})


def record(text: str, *, uri: str = URI, failure: str = "", seconds: int = 0) -> Put:
    made = PublishedKeys(jwks_uri=uri, keys=text, failure=failure)
    made.fetched.FromDatetime(datetime(2030, 1, 1, 0, 0, seconds, tzinfo=UTC))
    return Put(keys.jwks_key(uri, ""), made.SerializeToString())


def listeners(mesh: World) -> Collection:
    return mesh.snapshot().view(PROXY).collection(LDS)


def inline_keys(mesh: World) -> set[str]:
    """The keys in all filters that the proxy gets."""
    found = set()
    for listener in resources_of(mesh.snapshot().view(PROXY)).listeners.values():
        managers = (
            manager
            for filter_chain in listener.filter_chains
            for each in filter_chain.filters
            if each.typed_config.Unpack(manager := HttpConnectionManager())
        )
        for each in chain.from_iterable(manager.http_filters for manager in managers):
            if each.typed_config.Unpack(config := JwtAuthentication()):
                found.add(config.providers["origins-0"].local_jwks.inline_string)
    return found


def test_keys_reach_listeners() -> None:
    mesh = world(MESH)
    assert inline_keys(mesh) == {""}
    for put, expected in (
        (record("one"), "one"),
        (record("two"), "two"),
        (record("two", failure="gone"), "two"),
        (Put(KEY, None), ""),
    ):
        assert not mesh.apply([put])
        assert inline_keys(mesh) == {expected}


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(record("one", seconds=9), id="fetched-again"),
        pytest.param(record("one", failure="no answer"), id="failure"),
        pytest.param(record("other", uri="https://b.test/keys"), id="of-another-issuer"),
    ],
)
def test_what_changes_no_keys_makes_no_listeners(put: Put) -> None:
    mesh = world(MESH)
    mesh.apply([record("one")])
    before = listeners(mesh)
    mesh.apply([put])
    assert [each.version for each in listeners(mesh)] == [each.version for each in before]


def test_a_fetch_that_finds_the_same_is_no_news() -> None:
    mesh = world(MESH)
    mesh.apply([record("one")])
    before = mesh.snapshot()
    mesh.apply([record("one", seconds=9)])
    assert mesh.snapshot().index is before.index


def test_a_record_that_cannot_be_read_is_kept_out() -> None:
    mesh = world(MESH)
    mesh.apply([record("one")])
    (rejection,) = mesh.apply([Put(KEY, b"\xff")])
    assert rejection.key == KEY
    assert mesh.snapshot().index.public_keys == {KeySource(jwks_uri=URI): PublicKeys("one")}


def test_a_record_may_come_to_be_about_another_source() -> None:
    mesh = world(MESH)
    mesh.apply([record("one")])
    other = PublishedKeys(issuer="https://b.test", keys="two")
    mesh.apply([Put(KEY, other.SerializeToString())])
    assert mesh.snapshot().index.public_keys == {
        KeySource(issuer="https://b.test"): PublicKeys("two")
    }
