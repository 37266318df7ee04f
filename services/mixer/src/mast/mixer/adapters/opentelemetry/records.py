"""Mixer's values, log entries and spans as OTLP has them (OTLP 1.x, by field numbers)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any, Final

from mast.mixer.adapters import zipkin
from mast.mixer.adapters.opentelemetry.messages import AnyValue, KeyValue, LogRecord, Span
from mast.mixer.core.adapter import Instance
from mast.mixer.core.values import Duration, Timestamp, Value, ip_text, text

SEVERITIES: Final[Mapping[str, int]] = {
    "trace": 1,
    "debug": 5,
    "info": 9,
    "informational": 9,
    "notice": 10,
    "warn": 13,
    "warning": 13,
    "err": 17,
    "error": 17,
    "critical": 18,
    "alert": 19,
    "fatal": 21,
    "emergency": 21,
}
"""Severity numbers (OpenTelemetry Logs Data Model, "SeverityNumber"); other texts have none."""

_LAST: Final = (1 << 64) - 1
_ID: Final = re.compile(r"[0-9a-f]+")
_SIZES: Final[Mapping[str, str]] = {
    "request_size": "http.request.body.size",
    "request_total_size": "http.request.size",
    "response_size": "http.response.body.size",
    "response_total_size": "http.response.size",
}


def any_value(value: Value) -> AnyValue:
    """A value in the type that OTLP has for it; times and addresses as text, durations seconds."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float) and isfinite(value):
        return AnyValue(double_value=value)
    if isinstance(value, Duration):
        return AnyValue(double_value=value.seconds)
    if isinstance(value, Mapping):
        found = AnyValue()
        found.kvlist_value.values.extend(attributes(value))
        return found
    return AnyValue(string_value=text(value))


def attributes(values: Mapping[str, Value | None]) -> Iterator[KeyValue]:
    """Key-value pairs by name; what is absent is left out."""
    for name, value in sorted(values.items()):
        if value is not None:
            yield KeyValue(key=name, value=any_value(value))


def unix_nano(at: Timestamp) -> int:
    """Nanoseconds as OTLP has them: from 1970, unsigned, in 64 bits; the nearest for others."""
    return min(max(at.ns, 0), _LAST)


def log_record(instance: Instance, now: Timestamp) -> LogRecord:
    """A log entry: its name is the body, its variables are attributes.

    Variables ``trace_id`` and ``span_id`` that are valid join it to its trace.
    """
    fields = instance.fields
    severity = fields["severity"]
    record = LogRecord(
        time_unix_nano=unix_nano(fields["timestamp"] or now),
        severity_text=severity,
        severity_number=SEVERITIES.get(severity.lower(), 0),
        body=AnyValue(string_value=instance.name),
    )
    variables = dict(fields["variables"])
    trace, span = _id(variables.get("trace_id"), 16), _id(variables.get("span_id"), 8)
    if trace and span:
        record.trace_id, record.span_id = trace, span
        del variables["trace_id"], variables["span_id"]
    record.attributes.extend(attributes(variables))
    return record


def _id(value: object, size: int) -> bytes:
    """The bytes of a hexadecimal id; empty if it is none."""
    shown = value.lower() if isinstance(value, str) else ""
    whole = len(shown) == 2 * size or (size, len(shown)) == (16, 16)
    if not (whole and _ID.fullmatch(shown) and shown.strip("0")):
        return b""
    return bytes.fromhex(shown).rjust(size, b"\0")


def service(fields: Mapping[str, Any]) -> str:
    """Whose span it is: the caller's or the called service's, "" if that is unknown."""
    name: str = fields["source_name" if fields["client_span"] else "destination_name"]
    return name


def span(fields: Mapping[str, Any], now: Timestamp) -> Span | None:
    """A span; None without valid ids. Ids are rewritten as for Zipkin (mixer.md G.1)."""
    ids = zipkin.ids(fields)
    if ids is None:
        return None
    start = fields["start_time"] or fields["end_time"] or now
    code = fields["httpStatusCode"]
    client = fields["client_span"]
    found = Span(
        trace_id=bytes.fromhex(ids.trace).rjust(16, b"\0"),
        span_id=bytes.fromhex(ids.span),
        parent_span_id=bytes.fromhex(ids.parent),
        name=fields["span_name"],
        kind=Span.SPAN_KIND_CLIENT if client else Span.SPAN_KIND_SERVER,
        start_time_unix_nano=unix_nano(start),
        end_time_unix_nano=unix_nano(max(fields["end_time"] or start, start)),
    )
    found.attributes.extend(attributes({**fields["span_tags"], **dict(_known(fields))}))
    # Of a server only its own failures are errors (OpenTelemetry, "HTTP spans", status).
    if code >= (400 if client else 500):
        found.status.code = found.status.STATUS_CODE_ERROR
    return found


def _known(fields: Mapping[str, Any]) -> Iterable[tuple[str, Value]]:
    """What the template says beside tags, under OpenTelemetry's names."""
    remote = "destination" if fields["client_span"] else "source"
    if fields["httpStatusCode"]:
        yield "http.response.status_code", fields["httpStatusCode"]
    if fields[f"{remote}_ip"]:
        yield "network.peer.address", ip_text(fields[f"{remote}_ip"])
    if fields[f"{remote}_name"]:
        yield "peer.service", fields[f"{remote}_name"]
    if fields.get("api_protocol"):
        yield "network.protocol.name", fields["api_protocol"]
    for name, shown in _SIZES.items():
        if fields[name]:
            yield shown, fields[name]
