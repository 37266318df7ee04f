"""Which Secrets and ConfigMaps configuration refers to (pilot.md I5, C)."""

from __future__ import annotations

from typing import Any

import pytest

from mast.common.keys import config_key
from mast.common.kinds import BY_GROUP_KIND, KINDS
from mast.galley.core.objects import Defaults, read_json
from mast.galley.core.references import (
    CONFIG_MAP,
    SECRET,
    Reference,
    References,
    may_refer,
    references,
)

ISTIO = "networking.istio.io/v1"
GATEWAY_API = "gateway.networking.k8s.io/v1"


def found(api_version: str, kind: str, spec: dict[str, Any]) -> set[tuple[str, str, str]]:
    content = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "x", "namespace": "shop"},
        "spec": spec,
    }
    (obj,) = read_json(content, "-", Defaults()).objects
    assert may_refer(obj.kind)
    refs = references(obj.kind, "shop", obj.spec)
    return {(each.kind.name, each.namespace, each.name) for each in refs}


def secret(name: str, namespace: str = "") -> set[tuple[str, str, str]]:
    """A Secret, and the one with its roots."""
    return {("Secret", namespace, name), ("Secret", namespace, f"{name}-cacert")}


def server(**tls: Any) -> dict[str, Any]:
    return {"servers": [{"hosts": ["*"], "tls": tls}]}


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        pytest.param("Gateway", server(credentialName="a"), secret("a"), id="gateway"),
        pytest.param(
            "Gateway", server(credentialNames=["a", "b"]), secret("a") | secret("b"), id="several"
        ),
        pytest.param(
            "Gateway", server(credentialName="kubernetes://a"), secret("a"), id="kubernetes"
        ),
        pytest.param(
            "Gateway",
            server(credentialName="kubernetes-gateway://ns/a", caCertCredentialName="b"),
            secret("a", "ns") | secret("b"),
            id="of-a-namespace",
        ),
        pytest.param("Gateway", server(credentialName="sds://a"), set(), id="of-somebody-else"),
        pytest.param("Gateway", {"servers": [{"hosts": ["*"]}]}, set(), id="none"),
        pytest.param(
            "DestinationRule",
            {
                "host": "a.com",
                "trafficPolicy": {
                    "tls": {"mode": "SIMPLE", "credentialName": "configmap://roots"},
                    "portLevelSettings": [
                        {"port": {"number": 1}, "tls": {"mode": "MUTUAL", "credentialName": "a"}}
                    ],
                },
                "subsets": [
                    {
                        "name": "s",
                        "trafficPolicy": {
                            "tls": {"mode": "SIMPLE", "credentialName": "configmap://shop/more"}
                        },
                    }
                ],
            },
            {("ConfigMap", "shop", "roots"), ("ConfigMap", "shop", "more")} | secret("a"),
            id="destination-rule-everywhere",
        ),
        pytest.param(
            "EnvoyFilter",
            {
                "configPatches": [
                    {
                        "applyTo": "CLUSTER",
                        "patch": {
                            "operation": "MERGE",
                            "value": {
                                "a": [{"name": "kubernetes://a-cacert"}],
                                "url": "https://example.com/x",
                            },
                        },
                    }
                ]
            },
            secret("a"),
            id="envoy-filter",
        ),
    ],
)
def test_istio(kind: str, spec: dict[str, Any], expected: set[tuple[str, str, str]]) -> None:
    assert found(ISTIO, kind, spec) == expected


REFS = {"certificateRefs": [{"name": "a"}, {"name": "b", "namespace": "certs"}]}
CLIENTS = {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "roots"}]}


@pytest.mark.parametrize(
    ("api_version", "kind", "spec", "expected"),
    [
        pytest.param(
            GATEWAY_API,
            "Gateway",
            {
                "gatewayClassName": "istio",
                "listeners": [
                    {
                        "name": "x",
                        "port": 443,
                        "protocol": "HTTPS",
                        "tls": {**REFS, "frontendValidation": CLIENTS},
                    }
                ],
            },
            secret("a", "shop") | secret("b", "certs") | {("ConfigMap", "shop", "roots")},
            id="gateway",
        ),
        pytest.param(
            GATEWAY_API,
            "BackendTLSPolicy",
            {
                "targetRefs": [{"group": "", "kind": "Service", "name": "s"}],
                "validation": {
                    "hostname": "a.com",
                    "caCertificateRefs": [
                        {"group": "", "kind": "ConfigMap", "name": "roots"},
                        {"group": "other", "kind": "Bundle", "name": "x"},
                    ],
                },
            },
            {("ConfigMap", "shop", "roots")},
            id="backend-tls-policy",
        ),
        pytest.param(
            "networking.k8s.io/v1",
            "Ingress",
            {"tls": [{"secretName": "a", "hosts": ["a.com"]}]},
            secret("a"),
            id="ingress",
        ),
    ],
)
def test_others(
    api_version: str, kind: str, spec: dict[str, Any], expected: set[tuple[str, str, str]]
) -> None:
    assert found(api_version, kind, spec) == expected


def test_kinds_that_cannot_refer_are_not_looked_at() -> None:
    names = {kind.name for kind in KINDS if may_refer(kind)}
    assert {"Gateway", "DestinationRule", "Ingress", "EnvoyFilter", "BackendTLSPolicy"} <= names
    assert not {"VirtualService", "ServiceEntry", "Secret", "ConfigMap", "Telemetry"} & names


def key(name: str, namespace: str = "shop") -> str:
    return config_key(SECRET.collection, namespace, name)


def test_what_is_wanted_follows_who_refers() -> None:
    held = References()
    held.offer([key("a"), key("a", "other"), key("b"), config_key(CONFIG_MAP.collection, "n", "m")])
    anywhere, here = Reference(SECRET, "", "a"), Reference(SECRET, "shop", "b")
    assert not held.wants(key("a"))
    assert held.put("one", frozenset({anywhere})) == {key("a"), key("a", "other")}
    assert held.put("two", frozenset({anywhere, here})) == {key("b")}, "the other was wanted before"
    assert held.wants(key("a", "other"))
    assert held.put("one", frozenset()) == set(), "somebody still refers to it"
    held.withdraw([key("a", "other")])
    assert held.put("two", frozenset({here})) == {key("a")}
    assert (held.wants(key("a")), held.wants(key("b"))) == (False, True)
    held.put("three", frozenset({Reference(CONFIG_MAP, "n", "m")}))
    assert held.config_maps == {("n", "m")}
    held.forget()
    assert (held.config_maps, held.wants(key("b"))) == (frozenset(), False)


def test_other_kinds_are_always_wanted() -> None:
    kind = BY_GROUP_KIND["networking.istio.io", "VirtualService"]
    assert References().wants(config_key(kind.collection, "shop", "x"))
