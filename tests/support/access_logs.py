"""Access-log entries as Mixer gets them."""

from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage

from mast.mixer.core.envoy_entries import excerpt
from mastapi.mixer.v1.access_log_pb2 import HttpEntry


def received(entry: HTTPAccessLogEntry) -> HttpEntry:
    """What Mixer makes of an entry that Envoy sends."""
    sent = StreamAccessLogsMessage()
    sent.http_logs.log_entry.append(entry)
    return excerpt(sent.SerializeToString()).http_logs.log_entry[0]
