"""Attributes of APIs (mixer_proxy.md C18)."""

from typing import Any

import pytest

from istio.mixer.v1.config.client.api_spec_pb2 import HTTPAPISpec, HTTPAPISpecBinding
from istio.mixer.v1.config.client.quota_pb2 import QuotaSpec
from mast.mixer.core import quota_specs
from mast.mixer.core.api_specs import BINDINGS, SPECS, ApiSpecs
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import Condition, Reference
from mast.mixer.core.values import Duration, Timestamp
from tests.support.messages import made

A, E = Condition.ABSENCE, Condition.EXACT
PETS = """
attributes: {attributes: {api.service: {stringValue: pets}, api.version: {stringValue: "1"}}}
patterns:
- httpMethod: GET
  uriTemplate: /pets/{id}
  attributes: {attributes: {api.operation: {stringValue: getPet}}}
- httpMethod: GET
  regex: "/pets(\\\\?.*)?"
  attributes: {attributes: {api.operation: {stringValue: findPets}}}
- uriTemplate: /pets/{id}/toys/{toy}.json
  attributes: {attributes: {api.operation: {stringValue: toys}}}
"""
TO_WEB = "{services: [{name: web}], apiSpecs: [{name: pets}]}"
WEB = {"destination.service.host": "web.shop.svc.cluster.local"}


def apis(text: str = PETS, binding: str = TO_WEB) -> ApiSpecs:
    found = ApiSpecs().with_object(SPECS, ("shop", "pets"), made(HTTPAPISpec, text))
    return found.with_object(BINDINGS, ("shop", "b"), made(HTTPAPISpecBinding, binding))


def request(path: str = "/", method: str = "GET", **headers: str) -> dict[str, Any]:
    found: dict[str, Any] = {**WEB, "request.path": path, "request.method": method}
    if "?" in path:
        pairs = (pair.partition("=")[::2] for pair in path.partition("?")[2].split("&"))
        found["request.query_params"] = dict(pairs)
    found["request.headers"] = {name.replace("_", "-"): text for name, text in headers.items()}
    return found


def told(found: ApiSpecs, *args: Any, **headers: str) -> dict[str, Any]:
    return dict(found.attributes(request(*args, **headers)).values)


def test_nothing_without_bindings() -> None:
    unbound = ApiSpecs().with_object(SPECS, ("shop", "pets"), made(HTTPAPISpec, PETS))
    assert told(unbound, "/pets/1") == {}
    assert unbound.attributes(request()).origins == {}


def test_nothing_for_other_services() -> None:
    found = apis(binding="{services: [{name: other}], apiSpecs: [{name: pets}]}")
    assert told(found, "/pets/1") == {}


@pytest.mark.parametrize(
    ("path", "method", "operation"),
    [
        ("/pets/1", "GET", "getPet"),
        ("/pets/1?x=y", "GET", "getPet"),
        ("/pets/1", "POST", None),
        ("/pets/", "GET", None),
        ("/pets", "GET", "findPets"),
        ("/pets?limit=5", "GET", "findPets"),
        ("/pets/1/toys/2.json", "POST", "toys"),
        ("/pets/1/toys/2xjson", "POST", None),
        ("/pets/1/2", "GET", None),
        ("/dogs", "GET", None),
    ],
)
def test_operations(path, method, operation) -> None:
    found = told(apis(), path, method)
    assert (found.pop("api.service"), found.pop("api.version")) == ("pets", "1")
    assert found == ({"api.operation": operation} if operation else {})


def test_a_pattern_that_is_no_expression_matches_nothing() -> None:
    text = "patterns: [{regex: '(', attributes: {attributes: {api.operation: {stringValue: x}}}}]"
    assert told(apis(text), "(") == {}


KEYS = "apiKeys: [{cookie: session}, {header: X-Token}, {query: token}]"


@pytest.mark.parametrize(
    ("text", "path", "headers", "key"),
    [
        ("{}", "/?key=1", {}, "1"),
        ("{}", "/?api_key=2", {}, "2"),
        ("{}", "/", {"x_api_key": "3"}, "3"),
        ("{}", "/?key=1&api_key=2", {"x_api_key": "3"}, "1"),
        ("{}", "/?key=", {"x_api_key": "3"}, "3"),
        (KEYS, "/?key=1", {}, None),
        (KEYS, "/?token=1", {}, "1"),
        (KEYS, "/?token=1", {"x_token": "2"}, "2"),
        (KEYS, "/?token=1", {"cookie": 'a=b; session="3"'}, "3"),
        (KEYS, "/", {"cookie": "sessions=3; b"}, None),
    ],
)
def test_keys(text, path, headers, key) -> None:
    assert told(apis(text), path, **headers).get("request.api_key") == key


def test_attributes_of_all_types() -> None:
    text = """
attributes:
  attributes:
    a.string: {stringValue: x}
    a.int: {int64Value: 5}
    a.double: {doubleValue: 0.5}
    a.bool: {boolValue: true}
    a.bytes: {bytesValue: AQI=}
    a.time: {timestampValue: "1970-01-01T00:00:01Z"}
    a.duration: {durationValue: 2s}
    a.map: {stringMapValue: {entries: {k: v}}}
    a.none: {}
"""
    assert told(apis(text)) == {
        "a.string": "x",
        "a.int": 5,
        "a.double": 0.5,
        "a.bool": True,
        "a.bytes": b"\1\2",
        "a.time": Timestamp(1_000_000_000),
        "a.duration": Duration(2_000_000_000),
        "a.map": {"k": "v"},
    }


def test_nothing_replaces_what_the_request_has() -> None:
    given = {**request("/pets/1"), "api.operation": "mine"}
    assert "api.operation" not in apis().attributes(given).values


def test_of_two_specs_the_first_by_name_of_the_binding_wins() -> None:
    other = "attributes: {attributes: {api.service: {stringValue: o}, x: {stringValue: y}}}"
    found = apis().with_object(SPECS, ("shop", "other"), made(HTTPAPISpec, other))
    binding = made(HTTPAPISpecBinding, "{services: [{service: '*'}], apiSpecs: [{name: other}]}")
    values = told(found.with_object(BINDINGS, ("shop", "c"), binding), "/")
    assert (values["api.service"], values["x"]) == ("pets", "y")


def test_what_is_deleted_tells_nothing() -> None:
    assert told(apis().with_object(SPECS, ("shop", "pets"), None)) == {}
    assert told(apis().with_object(BINDINGS, ("shop", "b"), None)) == {}


HOST = Reference("destination.service.host", None, E)


def test_where_attributes_come_from() -> None:
    found = apis(PETS + KEYS).attributes(request("/dogs", cookie="a=b"))
    operation = (
        HOST,
        Reference("request.path", None, E),
        Reference("request.method", None, E),
    )
    assert found.origins == {
        "api.service": (HOST,),
        "api.version": (HOST,),
        "api.operation": operation,
        "request.api_key": (
            HOST,
            Reference("request.headers", "cookie", E),
            Reference("request.headers", "x-token", A),
            Reference("request.query_params", "token", A),
        ),
    }
    other = Reference("source.uid", None, A)
    traced = found.traced(
        [Reference("api.operation", None, A), other, Reference("api.service", None, E)]
    )
    assert traced == (*operation, other)


def test_client_config_keeps_quotas_and_apis_apart() -> None:
    spec = made(HTTPAPISpec, PETS)
    found = ClientConfig().with_object(SPECS, ("shop", "pets"), spec)
    assert found.apis.specs == {("shop", "pets"): spec}
    assert found.quotas == ClientConfig().quotas
    quota = found.with_object(quota_specs.SPECS, ("shop", "q"), QuotaSpec())
    assert (quota.apis, list(quota.quotas.specs)) == (found.apis, [("shop", "q")])
