"""A patch merged into configuration, kind of field by kind of field (pilot.md K3)."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.message import Message
from google.protobuf.text_format import Parse

from mast.common.envoy.merging import merge, merge_any
from mast.common.envoy.types import packed, unpacked


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        pytest.param('name: "a"', 'name: "b"', 'name: "b"', id="scalar-overwrites"),
        pytest.param('name: "a"', "", 'name: "a"', id="unset-keeps"),
        pytest.param("type: EDS", "type: STRICT_DNS", "type: STRICT_DNS", id="oneof-switches"),
        pytest.param(
            "health_checks { timeout { seconds: 1 } }",
            "health_checks { timeout { seconds: 2 } }",
            "health_checks { timeout { seconds: 1 } } health_checks { timeout { seconds: 2 } }",
            id="list-appends",
        ),
        pytest.param(
            "connect_timeout { seconds: 10 nanos: 5 }",
            "connect_timeout { seconds: 1 }",
            "connect_timeout { seconds: 1 }",
            id="duration-whole",
        ),
        pytest.param(
            "connect_timeout { seconds: 10 }", "connect_timeout { }", "connect_timeout { }",
            id="duration-to-zero",
        ),
        pytest.param(
            "per_connection_buffer_limit_bytes { value: 5 }",
            "per_connection_buffer_limit_bytes { }",
            "per_connection_buffer_limit_bytes { }",
            id="wrapper-to-zero",
        ),
        pytest.param(
            "outlier_detection { consecutive_5xx { value: 5 } }",
            "outlier_detection { max_ejection_percent { value: 9 } }",
            "outlier_detection { consecutive_5xx { value: 5 } max_ejection_percent { value: 9 } }",
            id="message-recurses",
        ),
        pytest.param(
            'name: "a"', "outlier_detection { }", 'name: "a" outlier_detection { }',
            id="empty-message-is-set",
        ),
        pytest.param(
            'metadata { filter_metadata { key: "a" value { fields { key: "x" } } } }',
            'metadata { filter_metadata { key: "a" value { fields { key: "y" } } } '
            'filter_metadata { key: "b" } }',
            'metadata { filter_metadata { key: "a" value { fields { key: "y" } } } '
            'filter_metadata { key: "b" } }',
            id="map-entry-replaced",
        ),
    ],
)  # fmt: skip
def test_merge(before: str, patch: str, after: str) -> None:
    message, expected = Parse(before, Cluster()), Parse(after, Cluster())
    merge(message, Parse(patch, Cluster()))
    assert message == expected


def test_lists_may_be_replaced() -> None:
    before = Parse("health_checks { timeout { seconds: 1 } } health_checks { }", Cluster())
    patch = Parse("health_checks { timeout { seconds: 2 } }", Cluster())
    merge(before, patch, replace_lists=True)
    assert before == patch


def socket(config: Message) -> TransportSocket:
    return TransportSocket(name="tls", typed_config=packed(config))


def test_typed_configurations_of_one_type_are_merged_inside() -> None:
    before = Cluster(transport_socket=socket(UpstreamTlsContext(sni="a")))
    merge(before, Cluster(transport_socket=socket(UpstreamTlsContext(auto_host_sni=True))))
    inner = unpacked(before.transport_socket.typed_config)
    assert inner == UpstreamTlsContext(sni="a", auto_host_sni=True)


def test_typed_configurations_of_other_types_are_replaced() -> None:
    before = packed(UpstreamTlsContext(sni="a"))
    merge_any(before, packed(RawBuffer()))
    assert unpacked(before) == RawBuffer()
