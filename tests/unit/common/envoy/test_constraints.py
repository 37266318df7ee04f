"""The rules of Envoy's descriptors, one by one, and a configuration of Envoy that keeps them."""

from __future__ import annotations

import pytest
from google.protobuf.text_format import Parse

from mast.common.envoy.constraints import deprecated, violations
from mast.common.envoy.types import message_class

C = "envoy.config.cluster.v3."
CORE = "envoy.config.core.v3."
R = "envoy.config.route.v3."
LOCAL = 'name: "x" address { socket_address { address: "a" port_value: 1 } }'


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        pytest.param(C + "Cluster", 'name: ""', ["name: must not be empty"], id="string-min-len"),
        pytest.param(C + "Cluster", 'name: "x"', [], id="unset-message-is-fine"),
        pytest.param(
            C + "Cluster",
            'name: "x" connect_timeout { }',
            ["connect_timeout: 0s is out of range; allowed: > 0s"],
            id="duration-gt",
        ),
        pytest.param(
            C + "Cluster",
            'name: "x" type: 77',
            ["type: 77 is no value of the enum"],
            id="enum-defined-only",
        ),
        pytest.param(
            C + "OutlierDetection",
            "max_ejection_percent { value: 101 }",
            ["max_ejection_percent: 101 is out of range; allowed: <= 100"],
            id="wrapper-lte",
        ),
        pytest.param(
            CORE + "SocketAddress",
            'address: "a" port_value: 65536',
            ["port_value: 65536 is out of range; allowed: <= 65535"],
            id="number-lte",
        ),
        pytest.param(
            CORE + "SocketAddress",
            'address: "a"',
            ["value: one of port_value, named_port is required"],
            id="oneof-required",
        ),
        pytest.param(
            CORE + "HealthCheck",
            "timeout { seconds: 1 } tcp_health_check { }",
            [
                "interval: is required",
                "unhealthy_threshold: is required",
                "healthy_threshold: is required",
            ],
            id="required-messages",
        ),
        pytest.param(
            CORE + "HeaderValue",
            'key: "a b" value: "x\\n"',
            [r"value: 'x\n' does not match ^[^\x00\x0A\x0D]*$"],
            id="header-patterns",
        ),
        pytest.param(
            CORE + "UpstreamHttpProtocolOptions",
            'override_auto_sni_header: "a b"',
            ["override_auto_sni_header: 'a b' does not match ^:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+$"],
            id="strict-header-name",
        ),
        pytest.param(
            R + "VirtualHost",
            'name: "a"',
            ["domains: must not be empty"],
            id="repeated-min-items",
        ),
        pytest.param(
            R + "VirtualHost",
            'name: "a" domains: "ok" domains: "x\\r" request_headers_to_remove: ""',
            [
                "domains[1]: " + r"'x\r' does not match ^[^\x00\x0A\x0D]*$",
                "request_headers_to_remove[0]: must not be empty",
            ],
            id="repeated-items",
        ),
        pytest.param(
            R + "RouteAction",
            'cluster: "x" hash_policy { header { header_name: "" } }',
            ["hash_policy[0].header.header_name: must not be empty"],
            id="nested",
        ),
        pytest.param(
            R + "RedirectAction",
            "response_code: 9",
            ["response_code: 9 is no value of the enum"],
            id="enum",
        ),
        pytest.param(
            R + "DirectResponseAction",
            "status: 99",
            ["status: 99 is out of range; allowed: >= 200"],
            id="number-gte",
        ),
        pytest.param(
            CORE + "TransportSocket",
            'name: "x" typed_config { [type.googleapis.com/' + R + "DirectResponseAction]"
            " { status: 9 } }",
            ["typed_config.status: 9 is out of range; allowed: >= 200"],
            id="inside-any",
        ),
        pytest.param(
            R + "RateLimit.Action",
            'dynamic_metadata { descriptor_key: "x" metadata_key { key: "m" '
            'path { key: "k" } } }',
            ["dynamic_metadata: Envoy does not allow 'dynamic_metadata' any more"],
            id="disallowed",
        ),
        pytest.param(
            "envoy.config.accesslog.v3.GrpcStatusFilter",
            "statuses: 99",
            ["statuses[0]: 99 is no value of the enum"],
            id="items-enum",
        ),
        pytest.param(
            R + "CorsPolicy",
            "filter_enabled { }",
            ["filter_enabled.default_value: is required"],
            id="required-in-message",
        ),
        pytest.param(
            "envoy.extensions.filters.http.gcp_authn.v3.TokenCacheConfig",
            "cache_size { value: 9223372036854775808 }",
            ["cache_size: 9223372036854775808 is out of range; allowed: <= 9223372036854775807"],
            id="wide-number",
        ),
        pytest.param(
            "envoy.extensions.filters.http.cache.v3.CacheConfig.KeyCreatorParams", "", [],
            id="no-rules",
        ),
    ],
)  # fmt: skip
def test_violations(name: str, text: str, found: list[str]) -> None:
    message = Parse(text, message_class(name)())
    assert [str(each) for each in violations(message)] == found


def test_only_the_member_of_a_oneof_that_is_set_is_checked() -> None:
    match = Parse('prefix: "/"', message_class(R + "RouteMatch")())
    assert list(violations(match)) == []


def test_deprecated_fields_are_told_wherever_they_are() -> None:
    text = 'name: "x" dns_resolvers { } transport_socket { name: "t" typed_config { ' \
        "[type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua] " \
        '{ inline_code: "x" } } }'  # fmt: skip
    message_class("envoy.extensions.filters.http.lua.v3.Lua")
    message = Parse(text, message_class(C + "Cluster")())
    assert [str(each) for each in deprecated(message)] == [
        "dns_resolvers: 'dns_resolvers' is deprecated by Envoy",
        "transport_socket.typed_config.inline_code: 'inline_code' is deprecated by Envoy",
    ]


def test_free_form_structures_are_not_looked_into() -> None:
    text = 'filter_metadata { key: "a" value { fields { key: "" value { } } } }'
    assert list(violations(Parse(text, message_class(CORE + "Metadata")()))) == []
