"""Which quotas a request is charged (mixer_proxy.md C17)."""

from typing import Any

import pytest

from istio.mixer.v1.config.client.quota_pb2 import QuotaSpec, QuotaSpecBinding
from mast.mixer.core.engine import Condition, Reference
from mast.mixer.core.quota_specs import BINDINGS, SPECS, QuotaSpecs
from tests.support.messages import made

EVERYTHING = "rules: [{quotas: [{quota: rate, charge: 1}]}]"
TO_WEB = "{services: [{name: web, namespace: shop}], quota_specs: [{name: q}]}"
WEB = {"destination.service.host": "web.shop.svc.cluster.local"}


def quotas(*specs: str, binding: str = TO_WEB) -> QuotaSpecs:
    """Specs ``q``, ``q2``… and one binding, all in namespace shop."""
    found = QuotaSpecs()
    for number, text in enumerate(specs, 1):
        name = "q" if number == 1 else f"q{number}"
        found = found.with_object(SPECS, ("shop", name), made(QuotaSpec, text))
    return found.with_object(BINDINGS, ("shop", "b"), made(QuotaSpecBinding, binding))


def charged(found: QuotaSpecs, **attributes: Any) -> dict[str, int]:
    named = {name.replace("__", "."): value for name, value in attributes.items()}
    return found.charges({**WEB, **named})[0]


def test_nothing_without_bindings() -> None:
    assert QuotaSpecs().charges(WEB) == ({}, ())


@pytest.mark.parametrize(
    ("service", "host", "bound"),
    [
        ("{name: web}", "web.shop.svc.cluster.local", True),
        ("{name: web, namespace: shop}", "web.shop.svc.cluster.local", True),
        ("{name: web, namespace: other}", "web.shop.svc.cluster.local", False),
        ("{name: web, domain: td}", "web.shop.svc.td", True),
        ("{name: web, domain: td}", "web.shop.svc.cluster.local", False),
        ("{service: '*'}", "anything", True),
        ("{service: api.example.com}", "api.example.com", True),
        ("{service: api.example.com}", "web.shop.svc.cluster.local", False),
        ("{service: '*'}", None, True),
        ("{name: web}", None, False),
    ],
)
def test_services_of_a_binding(service, host, bound) -> None:
    found = quotas(EVERYTHING, binding=f"{{services: [{service}], quota_specs: [{{name: q}}]}}")
    attributes = {} if host is None else {"destination.service.host": host}
    assert bool(found.charges(attributes)[0]) is bound


@pytest.mark.parametrize(
    ("match", "attributes", "applies"),
    [
        pytest.param("[]", {}, True, id="no-match-is-always"),
        pytest.param("[{clause: {a: {exact: x}}}]", {"a": "x"}, True, id="exact"),
        pytest.param("[{clause: {a: {exact: x}}}]", {"a": "xy"}, False, id="not-exact"),
        pytest.param("[{clause: {a: {prefix: x}}}]", {"a": "xy"}, True, id="prefix"),
        pytest.param("[{clause: {a: {prefix: x}}}]", {"a": "yx"}, False, id="not-prefix"),
        pytest.param("[{clause: {a: {regex: 'x.'}}}]", {"a": "xy"}, True, id="regex"),
        pytest.param("[{clause: {a: {regex: 'x.'}}}]", {"a": "axyz"}, False, id="whole-value"),
        pytest.param("[{clause: {a: {regex: '('}}}]", {"a": "("}, False, id="bad-regex"),
        pytest.param("[{clause: {a: {}}}]", {"a": ""}, False, id="no-condition"),
        pytest.param("[{clause: {a: {exact: x}}}]", {}, False, id="absent"),
        pytest.param("[{clause: {a: {exact: '5'}}}]", {"a": 5}, False, id="not-a-string"),
        pytest.param("[{clause: {}}]", {}, True, id="empty-clause"),
        pytest.param(
            "[{clause: {a: {exact: x}, b: {exact: y}}}]", {"a": "x", "b": "y"}, True, id="and"
        ),
        pytest.param(
            "[{clause: {a: {exact: x}, b: {exact: y}}}]", {"a": "x"}, False, id="and-one-is-not"
        ),
        pytest.param(
            "[{clause: {a: {exact: x}}}, {clause: {b: {exact: y}}}]", {"b": "y"}, True, id="or"
        ),
    ],
)
def test_matches(match, attributes, applies) -> None:
    text = f"rules: [{{match: {match}, quotas: [{{quota: rate, charge: 3}}]}}]"
    expected = {"rate": 3} if applies else {}
    assert charged(quotas(text), **attributes) == expected


def test_all_rules_that_match_add_up() -> None:
    text = """
rules:
- quotas: [{quota: a, charge: 1}, {quota: b, charge: 2}]
- quotas: [{quota: b, charge: 5}]
- match: [{clause: {x: {exact: y}}}]
  quotas: [{quota: c, charge: 1}]
"""
    assert charged(quotas(text)) == {"a": 1, "b": 7}


def test_a_spec_that_is_bound_twice_is_charged_once() -> None:
    found = quotas(EVERYTHING)
    again = made(QuotaSpecBinding, "{services: [{service: '*'}], quota_specs: [{name: q}]}")
    assert charged(found.with_object(BINDINGS, ("shop", "c"), again)) == {"rate": 1}


def test_specs_of_other_namespaces_can_be_bound() -> None:
    binding = "{services: [{name: web}], quota_specs: [{name: q, namespace: other}, {name: gone}]}"
    found = quotas(binding=binding)
    assert charged(found) == {}
    spec = made(QuotaSpec, EVERYTHING)
    assert charged(found.with_object(SPECS, ("other", "q"), spec)) == {"rate": 1}


def test_what_is_deleted_is_not_charged() -> None:
    found = quotas(EVERYTHING)
    assert charged(found.with_object(SPECS, ("shop", "q"), None)) == {}
    assert charged(found.with_object(BINDINGS, ("shop", "b"), None)) == {}
    assert charged(found) == {"rate": 1}, "the moment before is as it was"


def test_what_was_looked_up_is_told() -> None:
    text = """
rules:
- match: [{clause: {a: {exact: x}, b: {exact: y}}}]
  quotas: [{quota: rate, charge: 1}]
"""
    _, references = quotas(text).charges({**WEB, "a": "x"})
    assert references == (
        Reference("destination.service.host", None, Condition.EXACT),
        Reference("a", None, Condition.EXACT),
        Reference("b", None, Condition.ABSENCE),
    )


def test_charges_that_make_no_sense_are_left_out() -> None:
    text = "rules: [{quotas: [{quota: a}, {quota: b, charge: -1}, {charge: 1}]}]"
    assert charged(quotas(text)) == {}
