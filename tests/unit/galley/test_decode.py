"""Trees into messages: proto3 JSON, strictly."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import any_pb2, struct_pb2
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from istio.authentication.v1alpha1 import policy_pb2
from istio.mixer.v1.config.client import api_spec_pb2
from istio.networking.v1alpha3 import (
    destination_rule_pb2,
    envoy_filter_pb2,
    virtual_service_pb2,
    workload_entry_pb2,
)
from istio.policy.v1beta1 import cfg_pb2, type_pb2
from istio.security.v1beta1 import peer_authentication_pb2
from istio.telemetry.v1alpha1 import telemetry_pb2
from mast.galley.core.decode import FINDINGS_LIMIT, TOO_MANY, decode
from mast.galley.core.documents import documents, from_json
from mast.galley.core.problem import Position, path_text

VirtualService = virtual_service_pb2.VirtualService
HTTPRoute = virtual_service_pb2.HTTPRoute
HTTPRetry = virtual_service_pb2.HTTPRetry


def decoded(kind: Any, text: str) -> tuple[dict[str, Any], list[str]]:
    (node,), problems = documents(text)
    assert problems == []
    result = decode(node, kind)
    return MessageToDict(result.message), [
        f"{path_text(finding.path)} {finding.rule}" for finding in result.findings
    ]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        pytest.param(HTTPRoute, "{directResponse: {status: 200}}",
                     {"directResponse": {"status": 200}}, id="lower-camel-case"),
        pytest.param(HTTPRoute, "{direct_response: {status: '200'}}",
                     {"directResponse": {"status": 200}}, id="snake-case-and-decimal-text"),
        pytest.param(HTTPRetry, "{attempts: 2.0}", {"attempts": 2}, id="integral-float"),
        pytest.param(HTTPRoute, "{timeout: 1h30m}", {"timeout": "5400s"}, id="go-duration"),
        pytest.param(HTTPRoute, "{timeout: 1.5s}", {"timeout": "1.500s"}, id="json-duration"),
        pytest.param(HTTPRoute, "{timeout: .5ms}", {"timeout": "0.000500s"}, id="fraction"),
        pytest.param(HTTPRoute, "{timeout: -1s}", {"timeout": "-1s"}, id="negative-duration"),
        pytest.param(HTTPRetry, "{retryRemoteLocalities: false}",
                     {"retryRemoteLocalities": False}, id="wrapper"),
        pytest.param(HTTPRoute, "{route: null, timeout: null}", {}, id="null-is-unset"),
        pytest.param(HTTPRoute, "{redirect: {}}", {"redirect": {}}, id="empty-message"),
        pytest.param(HTTPRoute, "{redirect: {derivePort: FROM_REQUEST_PORT}}",
                     {"redirect": {"derivePort": "FROM_REQUEST_PORT"}}, id="enum"),
        pytest.param(HTTPRoute, "{redirect: {derivePort: 1}}",
                     {"redirect": {"derivePort": "FROM_REQUEST_PORT"}}, id="enum-number"),
        pytest.param(HTTPRoute, "{mirrorPercentage: {value: 10}}",
                     {"mirrorPercentage": {"value": 10.0}}, id="integer-for-double"),
        pytest.param(HTTPRoute, "{directResponse: {body: {bytes: aGk=}}}",
                     {"directResponse": {"body": {"bytes": "aGk="}}}, id="bytes"),
        pytest.param(HTTPRoute, "{directResponse: {body: {bytes: _-8}}}",
                     {"directResponse": {"body": {"bytes": "/+8="}}}, id="url-safe-bytes"),
        pytest.param(workload_entry_pb2.WorkloadEntry, "{ports: {http: 80}, labels: {a: b}}",
                     {"ports": {"http": 80}, "labels": {"a": "b"}}, id="maps"),
        pytest.param(peer_authentication_pb2.PeerAuthentication,
                     "{portLevelMtls: {8080: {mode: STRICT}, 9090: }}",
                     {"portLevelMtls": {"8080": {"mode": "STRICT"}, "9090": {}}},
                     id="integer-keys-and-empty-value"),
        pytest.param(envoy_filter_pb2.EnvoyFilter.Patch,
                     "{value: {a: [1, null, yes, true, {b: .5}], 'c': 'd'}}",
                     {"value": {"a": [1.0, None, "yes", True, {"b": 0.5}], "c": "d"}},
                     id="struct"),
        pytest.param(type_pb2.TimeStamp, "{value: 2026-01-01T00:00:00Z}",
                     {"value": "2026-01-01T00:00:00Z"}, id="timestamp"),
        pytest.param(cfg_pb2.Handler, "{compiledAdapter: stdio, params: {}}",
                     {"compiledAdapter": "stdio", "params": {}}, id="empty-struct"),
        pytest.param(telemetry_pb2.Tracing, "{randomSamplingPercentage: 'NaN'}",
                     {"randomSamplingPercentage": "NaN"}, id="not-a-number"),
        pytest.param(destination_rule_pb2.LoadBalancerSettings, "{simple: LEAST_CONN}",
                     {"simple": "LEAST_CONN"}, id="deprecated-enum-value"),
        pytest.param(policy_pb2.Policy, "{peers: [{mtls: {}}]}", {"peers": [{"mtls": {}}]},
                     id="empty-message-in-oneof"),
        pytest.param(policy_pb2.Policy, "{peers: [{mtls: }]}", {"peers": [{}]},
                     id="null-in-oneof"),
        pytest.param(api_spec_pb2.HTTPAPISpec,
                     "{attributes: {attributes: {a.b: {stringValue: c}}}}",
                     {"attributes": {"attributes": {"a.b": {"stringValue": "c"}}}},
                     id="mixer-attributes"),
    ],
)  # fmt: skip
def test_accepted(kind: Any, text: str, value: dict[str, Any]) -> None:
    assert decoded(kind, text) == (value, [])


@pytest.mark.parametrize(
    ("kind", "text", "findings"),
    [
        pytest.param(VirtualService, "{hots: [a]}", ["hots unknown-field"], id="unknown"),
        pytest.param(VirtualService, "{http: [{rout: []}, {x: 1}]}",
                     ["http[0].rout unknown-field", "http[1].x unknown-field"], id="nested"),
        pytest.param(VirtualService, "{hosts: [1, true, 1.5, {}, []]}",
                     [f"hosts[{n}] wrong-type" for n in range(5)], id="not-text"),
        pytest.param(VirtualService, "{hosts: a}", ["hosts wrong-type"], id="not-a-list"),
        pytest.param(VirtualService, "{hosts: [null]}", ["hosts[0] wrong-type"], id="null-item"),
        pytest.param(VirtualService, "{http: [null, 5]}",
                     ["http[0] wrong-type", "http[1] wrong-type"], id="not-an-object"),
        pytest.param(HTTPRoute, "{direct_response: {}, directResponse: {}}",
                     ["directResponse duplicate-key"], id="both-names"),
        pytest.param(HTTPRoute, "{match: [{uri: {exact: a, prefix: b}}]}",
                     ["match[0].uri.prefix one-of"], id="one-of"),
        pytest.param(HTTPRetry, "{attempts: 1.5}", ["attempts wrong-type"], id="fraction"),
        pytest.param(HTTPRetry, "{attempts: true}", ["attempts wrong-type"], id="boolean-number"),
        pytest.param(HTTPRetry, "{attempts: 2147483648}", ["attempts wrong-type"], id="overflow"),
        pytest.param(HTTPRoute, "{directResponse: {status: -1}}",
                     ["directResponse.status wrong-type"], id="negative-unsigned"),
        pytest.param(HTTPRetry, "{retryRemoteLocalities: yes}",
                     ["retryRemoteLocalities wrong-type"], id="yes-is-no-boolean"),
        pytest.param(HTTPRoute, "{redirect: {derivePort: NEVER}}",
                     ["redirect.derivePort wrong-type"], id="enum-name"),
        pytest.param(HTTPRoute, "{redirect: {derivePort: 7}}",
                     ["redirect.derivePort wrong-type"], id="enum-number"),
        pytest.param(HTTPRoute, "{redirect: {derivePort: true}}",
                     ["redirect.derivePort wrong-type"], id="enum-boolean"),
        *(
            pytest.param(HTTPRoute, f"{{timeout: {text}}}", ["timeout wrong-type"], id=text)
            for text in ("5", "5 s", "s", "1d", "1s2", "''", "99999999999h", "{seconds: 5}")
        ),
        pytest.param(HTTPRoute, "{mirrorPercentage: {value: '10'}}",
                     ["mirrorPercentage.value wrong-type"], id="text-for-double"),
        pytest.param(HTTPRoute, "{directResponse: {body: {bytes: '*'}}}",
                     ["directResponse.body.bytes wrong-type"], id="not-base64"),
        pytest.param(HTTPRoute, "{directResponse: {body: {bytes: é}}}",
                     ["directResponse.body.bytes wrong-type"], id="not-even-ascii"),
        pytest.param(workload_entry_pb2.WorkloadEntry, "{labels: [a]}", ["labels wrong-type"],
                     id="not-a-map"),
        pytest.param(workload_entry_pb2.WorkloadEntry, "{labels: {a: 1}, ports: {b: c}}",
                     ["labels.a wrong-type", "ports.b wrong-type"], id="map-values"),
        pytest.param(peer_authentication_pb2.PeerAuthentication, "{portLevelMtls: {a: {}}}",
                     ["portLevelMtls.a wrong-type"], id="map-key"),
        pytest.param(cfg_pb2.Handler, "{params: 5}", ["params wrong-type"], id="not-a-struct"),
        pytest.param(HTTPRoute, "{mirrorPercentage: {value: " + "9" * 39 + "}}", [],
                     id="large-number"),
        pytest.param(struct_pb2.Struct, "[a]", [" wrong-type"], id="list-for-struct"),
        pytest.param(any_pb2.Any, "{'@type': a}", [" wrong-type"], id="any"),
        pytest.param(type_pb2.TimeStamp, "{value: yesterday}", ["value wrong-type"], id="time"),
    ],
)  # fmt: skip
def test_refused(kind: Any, text: str, findings: list[str]) -> None:
    assert decoded(kind, text)[1] == findings


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        pytest.param(VirtualService, "{hots: []}",
                     "unknown field 'hots' of VirtualService; did you mean 'hosts'?", id="close"),
        pytest.param(HTTPRetry, "{zzz: 1}",
                     "unknown field 'zzz' of HTTPRetry; allowed: attempts, backoff, perTryTimeout,"
                     " retryIgnorePreviousHosts, retryOn, retryRemoteLocalities", id="allowed"),
        pytest.param(VirtualService, "{hosts: [1.10]}",
                     '1.10 is not text; write "1.10" in quotes', id="quotes"),
        pytest.param(HTTPRetry, "{attempts: -9999999999}",
                     "-9999999999 is out of range; allowed: -2147483648 to 2147483647",
                     id="range"),
        pytest.param(HTTPRoute, "{redirect: {derivePort: X}}",
                     "'X' is not allowed; allowed: FROM_PROTOCOL_DEFAULT, FROM_REQUEST_PORT",
                     id="enum"),
        pytest.param(HTTPRetry, "{retryRemoteLocalities: 'true'}",
                     "'true' is not a boolean; allowed: true, false", id="boolean"),
    ],
)  # fmt: skip
def test_messages_say_what_is_allowed(kind: Any, text: str, message: str) -> None:
    (node,), _ = documents(text)
    assert [finding.message for finding in decode(node, kind).findings] == [message]


@pytest.mark.parametrize(
    ("kind", "value", "path", "message"),
    [
        pytest.param(VirtualService, {"hosts": ["a\ud800"]}, "hosts[0]",
                     "'a\\ud800' is not Unicode: surrogates not allowed", id="half-a-character"),
        pytest.param(struct_pb2.Struct, {"\udfff": 1}, "",
                     "'\\udfff' is not Unicode: surrogates not allowed", id="key"),
        pytest.param(struct_pb2.Struct, {"a": [float("inf")]}, "",
                     "inf is not a number that JSON has", id="infinite"),
        pytest.param(struct_pb2.Struct, {"a": 10**400}, "", "the number is out of range",
                     id="endless-number"),
        pytest.param(HTTPRoute, {"timeout": "9" * 257 + "s"}, "timeout",
                     f"'{'9' * 61}...' is not a duration; write for example 10s, 100ms, 1h30m",
                     id="endless-duration"),
    ],
)  # fmt: skip
def test_what_no_message_holds(kind: Any, value: Any, path: str, message: str) -> None:
    (finding,) = decode(from_json(value), kind).findings
    assert (path_text(finding.path), finding.message) == (path, message)


def test_of_very_many_mistakes_the_first_are_told() -> None:
    tree = from_json({"hosts": [5] * (2 * FINDINGS_LIMIT), "x": 1})
    found = decode(tree, VirtualService).findings
    assert [finding.rule for finding in found] == ["wrong-type"] * FINDINGS_LIMIT + [TOO_MANY]
    unknown = decode(from_json({f"hots{n}": 1 for n in range(50)}), VirtualService).findings
    guessed = [finding for finding in unknown if "did you mean 'hosts'" in finding.message]
    assert (len(unknown), len(guessed)) == (50, 20)


def test_every_field_has_its_position() -> None:
    (node,), _ = documents("hosts:\n- a\n- b\nhttp:\n- route:\n  - destination: {host: c}\n")
    positions = decode(node, VirtualService, ("spec",)).positions
    assert positions["spec", "hosts"] == Position(1, 1)
    assert positions["spec", "hosts", 1] == Position(3, 3)
    route = ("spec", "http", 0, "route", 0)
    assert positions[(*route, "destination", "host")] == Position(6, 19)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["hosts", "http", "route", "match", "uri", "timeout", "x", "headers"]
                ),
                inner,
            )
        ),
        max_leaves=25,
    )
)
def test_no_tree_raises_and_what_is_accepted_stays_the_same(value: Any) -> None:
    """What decodes without a finding is, written as JSON, decoded to the same message."""
    result = decode(from_json(value), VirtualService)
    if not result.findings:
        again = decode(from_json(MessageToDict(result.message)), VirtualService)
        assert again.findings == ()
        assert again.message == result.message
