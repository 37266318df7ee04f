"""External authorizers: every field of their providers (pilot.md J6; Istio extensionProviders)."""

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.security.authorization.authorizers import Authorizer, authorizer
from mast.pilot.core.security.authorization.values import Unusable
from tests.support.mesh_yaml import scope, sidecar_proxy
from tests.support.view_mesh import config

PROXY = sidecar_proxy("shop")
MESH = """
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {extensionProviders: [{name: one, PROVIDER}]}
---
"""
SERVICE = config(
    "ServiceEntry",
    "authz",
    "secure",
    "{hosts: [authz.secure.svc.cluster.local], resolution: STATIC,"
    " ports: [{number: 80, name: grpc, protocol: GRPC}]}",
)
AUTHZ = "service: authz.secure.svc.cluster.local, port: 80"
CLUSTER = "outbound|80||authz.secure.svc.cluster.local"
ENABLED = {
    "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
    "value": {"stringMatch": {"prefix": "istio-ext-authz-one-"}},
}


def made(provider: str) -> Authorizer:
    return authorizer(scope(PROXY, MESH.replace("PROVIDER", provider), SERVICE), "one")


def shown(provider: str) -> Mapping[str, Any]:
    found = MessageToDict(made(provider).http)
    assert found.pop("transportApiVersion") == "V3"
    assert found.pop("filterEnabledMetadata") == {"filter": "envoy.filters.http.rbac", **ENABLED}
    return found


def test_grpc() -> None:
    found = made(f"envoyExtAuthzGrpc: {{{AUTHZ}}}")
    call = {
        "envoyGrpc": {"clusterName": CLUSTER, "authority": "authz.secure.svc.cluster.local"},
        "timeout": "600s",
    }
    assert shown(f"envoyExtAuthzGrpc: {{{AUTHZ}}}") == {"grpcService": call}
    assert (found.service.host, found.port.number) == ("authz.secure.svc.cluster.local", 80)
    assert found.network is not None
    assert MessageToDict(found.network) == {
        "statPrefix": "tcp.",
        "grpcService": call,
        "transportApiVersion": "V3",
        "filterEnabledMetadata": {"filter": "envoy.filters.network.rbac", **ENABLED},
    }


def test_http() -> None:
    provider = f"envoyExtAuthzHttp: {{{AUTHZ}}}"
    assert shown(provider) == {
        "httpService": {
            "serverUri": {
                "uri": "http://authz.secure.svc.cluster.local",
                "cluster": CLUSTER,
                "timeout": "600s",
            },
            "authorizationRequest": {},
            "authorizationResponse": {},
        }
    }
    assert made(provider).network is None


@pytest.mark.parametrize("kind", ["envoyExtAuthzHttp", "envoyExtAuthzGrpc"])
@pytest.mark.parametrize(
    ("field", "expected"),
    [
        pytest.param("failOpen: true", {"failureModeAllow": True}, id="fail-open"),
        pytest.param(
            "statusOnError: '503'",
            {"statusOnError": {"code": "ServiceUnavailable"}},
            id="status-on-error",
        ),
        pytest.param("clearRouteCache: true", {"clearRouteCache": True}, id="clear-route-cache"),
        pytest.param(
            "includeRequestBodyInCheck: {maxRequestBytes: 9, allowPartialMessage: true,"
            " packAsBytes: true}",
            {
                "withRequestBody": {
                    "maxRequestBytes": 9,
                    "allowPartialMessage": True,
                    "packAsBytes": True,
                }
            },
            id="body",
        ),
    ],
)
def test_fields_of_both(kind: str, field: str, expected: Mapping[str, Any]) -> None:
    found, plain = (shown(f"{kind}: {{{AUTHZ}, {more}}}") for more in (field, ""))
    assert found == {**plain, **expected}


def test_a_connection_fails_open_as_well() -> None:
    found = made(f"envoyExtAuthzGrpc: {{{AUTHZ}, failOpen: true, timeout: 2s}}").network
    assert found is not None
    assert found.failure_mode_allow
    assert found.grpc_service.timeout.seconds == 2


def patterns(*matchers: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"patterns": [{**each, "ignoreCase": True} for each in matchers]}


@pytest.mark.parametrize(
    ("field", "path", "expected"),
    [
        pytest.param("timeout: 1.5s", "serverUri.timeout", "1.500s", id="timeout"),
        pytest.param("pathPrefix: /a", "pathPrefix", "/a", id="path-prefix"),
        pytest.param(
            "includeAdditionalHeadersInCheck: {b: '5%', a: '%PROTOCOL%'}",
            "authorizationRequest.headersToAdd",
            [{"key": "a", "value": "%PROTOCOL%"}, {"key": "b", "value": "5%%"}],
            id="additional-headers",
        ),
        pytest.param(
            "headersToUpstreamOnAllow: [a, 'b*', '*c']",
            "authorizationResponse.allowedUpstreamHeaders",
            patterns({"exact": "a"}, {"prefix": "b"}, {"suffix": "c"}),
            id="to-upstream",
        ),
        pytest.param(
            "headersToDownstreamOnDeny: [A]",
            "authorizationResponse.allowedClientHeaders",
            patterns({"exact": "A"}),
            id="to-downstream-on-deny",
        ),
        pytest.param(
            "headersToDownstreamOnAllow: [a]",
            "authorizationResponse.allowedClientHeadersOnSuccess",
            patterns({"exact": "a"}),
            id="to-downstream-on-allow",
        ),
    ],
)
def test_fields_of_http(field: str, path: str, expected: object) -> None:
    found: Any = shown(f"envoyExtAuthzHttp: {{{AUTHZ}, {field}}}")["httpService"]
    for step in path.split("."):
        found = found[step]
    assert found == expected


def test_headers_that_are_sent_along() -> None:
    given = "includeRequestHeadersInCheck: [a, '*'], includeHeadersInCheck: [b]"
    found = shown(f"envoyExtAuthzHttp: {{{AUTHZ}, {given}}}")["allowedHeaders"]
    exact = [{"exact": each, "ignoreCase": True} for each in "ab"]
    assert found == {"patterns": [exact[0], {"safeRegex": {"regex": ".+"}}, exact[1]]}


@pytest.mark.parametrize(
    ("provider", "why"),
    [
        pytest.param("prometheus: {}", "no external authorizer", id="of-another-kind"),
        pytest.param(
            "envoyExtAuthzGrpc: {service: x.test, port: 80}", "no service x.test", id="service"
        ),
        pytest.param(
            f"envoyExtAuthzGrpc: {{{AUTHZ.replace('80', '81')}}}", "with a port 81", id="port"
        ),
        pytest.param(
            f"envoyExtAuthzGrpc: {{{AUTHZ}, statusOnError: x}}", "'x' is no HTTP status", id="text"
        ),
        pytest.param(
            f"envoyExtAuthzHttp: {{{AUTHZ}, statusOnError: '599'}}", "'599' is no", id="status"
        ),
        pytest.param(
            f"envoyExtAuthzHttp: {{{AUTHZ}, includeRequestBodyInCheck: {{}}}}",
            "no maxRequestBytes",
            id="body",
        ),
    ],
)
def test_unusable(provider: str, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        made(provider)


def test_unknown() -> None:
    with pytest.raises(Unusable, match="no such provider"):
        authorizer(scope(PROXY), "one")


def test_a_namespace_before_the_host() -> None:
    found = made("envoyExtAuthzGrpc: {service: secure/authz.secure.svc.cluster.local, port: 80}")
    assert found.service.namespace == "secure"
