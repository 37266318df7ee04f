"""Log entries and spans as Google Cloud Logging and Trace have them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import stackdriver_pb2
from values import filled, payload

from istio.mixer.template.logentry import template_handler_service_pb2 as logentry
from istio.mixer.template.tracespan import template_handler_service_pb2 as tracespan

LogInfo = stackdriver_pb2.Params.LogInfo

SEVERITIES = {
    "debug": "DEBUG",
    "info": "INFO",
    "informational": "INFO",
    "notice": "NOTICE",
    "warn": "WARNING",
    "warning": "WARNING",
    "err": "ERROR",
    "error": "ERROR",
    "critical": "CRITICAL",
    "fatal": "CRITICAL",
    "alert": "ALERT",
    "emergency": "EMERGENCY",
}
HTTP_FIELDS = {
    "status": "status",
    "request_size": "requestSize",
    "response_size": "responseSize",
    "latency": "latency",
    "local_ip": "serverIp",
    "remote_ip": "remoteIp",
    "url": "requestUrl",
    "method": "requestMethod",
    "user_agent": "userAgent",
    "referer": "referer",
}
TRACE, SPAN = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")


def entry(instance: logentry.InstanceMsg, params: stackdriver_pb2.Params) -> dict[str, Any]:
    """A log entry; Refused for a template of more than fields."""
    info = params.log_info[instance.name] if instance.name in params.log_info else LogInfo()
    variables = filled(instance.variables)
    found: dict[str, Any] = {
        "logName": f"projects/{params.project_id}/logs/{quote(instance.name, safe='')}",
        "resource": {
            "type": instance.monitored_resource_type or "global",
            "labels": filled(instance.monitored_resource_dimensions),
        },
        "severity": SEVERITIES.get(instance.severity.lower(), "DEFAULT"),
    }
    if instance.HasField("timestamp"):
        found["timestamp"] = instance.timestamp.value.ToJsonString()
    if labels := {name: variables[name] for name in info.label_names if name in variables}:
        found["labels"] = labels
    if info.payload_template:
        found["textPayload"] = payload(info.payload_template, variables)
    else:
        found["jsonPayload"] = variables
    if request := _request(info.http_mapping, variables):
        found["httpRequest"] = request
    return found


def _request(mapping: LogInfo.HttpRequestMapping, variables: dict[str, str]) -> dict[str, Any]:
    named = {field: getattr(mapping, name) for name, field in HTTP_FIELDS.items()}
    found: dict[str, Any] = {
        field: variables[name] for field, name in named.items() if name in variables
    }
    if found.get("status", "").isdigit():
        found["status"] = int(found["status"])
    else:
        found.pop("status", None)
    return found


def span(instance: tracespan.InstanceMsg, params: stackdriver_pb2.Params) -> dict[str, Any] | None:
    """A span; None without ids, or if its trace is not among those that are sent."""
    trace, own = instance.trace_id.lower().rjust(32, "0"), instance.span_id.lower()
    if not (TRACE.fullmatch(trace) and SPAN.fullmatch(own)):
        return None
    if int(trace[16:], 16) >= int(params.trace.sample_probability * (1 << 64)):
        return None
    tags = filled(instance.span_tags)
    if instance.httpStatusCode:
        tags["/http/status_code"] = str(instance.httpStatusCode)
    found: dict[str, Any] = {
        "name": f"projects/{params.project_id}/traces/{trace}/spans/{own}",
        "spanId": own,
        "displayName": {"value": instance.span_name[:128]},
        "startTime": instance.start_time.value.ToJsonString(),
        "endTime": instance.end_time.value.ToJsonString(),
        "spanKind": "CLIENT" if instance.client_span else "SERVER",
        "attributes": {
            "attributeMap": {
                name[:128]: {"stringValue": {"value": value[:256]}} for name, value in tags.items()
            }
        },
    }
    if SPAN.fullmatch(instance.parent_span_id.lower()):
        found["parentSpanId"] = instance.parent_span_id.lower()
    return found
