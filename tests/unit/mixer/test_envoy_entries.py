"""The excerpt of access logs is what Envoy sends, as far as it goes (mixer_proxy.md K6)."""

from __future__ import annotations

import pytest
from envoy.config.core.v3 import address_pb2
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mast.mixer.core.envoy_entries import excerpt
from mastapi.mixer.v1 import access_log_pb2

# What the excerpt's type says of the original: the same, or that it need not be opened.
SAME = {
    FieldDescriptor.TYPE_STRING: {FieldDescriptor.TYPE_STRING},
    FieldDescriptor.TYPE_UINT64: {FieldDescriptor.TYPE_UINT64},
    FieldDescriptor.TYPE_INT32: {FieldDescriptor.TYPE_ENUM},
    FieldDescriptor.TYPE_BYTES: {FieldDescriptor.TYPE_MESSAGE},
    FieldDescriptor.TYPE_MESSAGE: {FieldDescriptor.TYPE_MESSAGE},
}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (access_log_pb2.AccessLogMessage, als_pb2.StreamAccessLogsMessage),
        (access_log_pb2.HttpEntries, als_pb2.StreamAccessLogsMessage.HTTPAccessLogEntries),
        (access_log_pb2.HttpEntry, accesslog_pb2.HTTPAccessLogEntry),
        (access_log_pb2.CommonProperties, accesslog_pb2.AccessLogCommon),
        (access_log_pb2.TlsProperties, accesslog_pb2.TLSProperties),
        (access_log_pb2.RequestProperties, accesslog_pb2.HTTPRequestProperties),
        (access_log_pb2.ResponseProperties, accesslog_pb2.HTTPResponseProperties),
        (access_log_pb2.Address, address_pb2.Address),
        (access_log_pb2.SocketAddress, address_pb2.SocketAddress),
    ],
    ids=lambda each: each.DESCRIPTOR.name,
)
def test_fields_are_those_of_envoy(ours, theirs) -> None:
    found, original = _fields(ours.DESCRIPTOR), _fields(theirs.DESCRIPTOR)
    assert found.keys() <= original.keys()
    for key, field in found.items():
        assert original[key].type in SAME[field.type], key
        assert original[key].is_repeated == field.is_repeated, key


def _fields(message: Descriptor) -> dict[tuple[str, int], FieldDescriptor]:
    return {(field.name, field.number): field for field in message.fields}


def test_what_is_of_no_use_is_left_out() -> None:
    sent = als_pb2.StreamAccessLogsMessage()
    common = sent.http_logs.log_entry.add().common_properties
    common.stream_id, common.upstream_cluster = "x", "inbound|80||"
    (entry,) = excerpt(sent.SerializeToString()).http_logs.log_entry
    expected = access_log_pb2.HttpEntry()
    expected.common_properties.upstream_cluster = "inbound|80||"
    assert entry.SerializeToString() == expected.SerializeToString()
