"""What CloudWatch is sent: values of metrics, and events of logs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import urlencode

import cloudwatch_pb2
from values import Refused, filled, measured, payload

from istio.mixer.template.logentry import template_handler_service_pb2 as logentry
from istio.mixer.template.metric import template_handler_service_pb2 as metric

MAX_DIMENSIONS, MAX_LENGTH = 30, 1024

Unit = cloudwatch_pb2.Params.MetricDatum.Unit
PER_SECOND = {"Seconds": 1, "Milliseconds": 1_000, "Microseconds": 1_000_000}


class Datum(NamedTuple):
    """A value of a metric."""

    namespace: str
    name: str
    value: float
    unit: str
    at: str
    dimensions: Mapping[str, str]


class Event(NamedTuple):
    """A line of a log; ``at`` in milliseconds since 1970."""

    group: str
    stream: str
    at: int
    message: str


class Call(NamedTuple):
    """A request to one of CloudWatch's services."""

    service: str
    headers: Mapping[str, str]
    body: bytes
    items: int


def datum(instance: metric.InstanceMsg, params: cloudwatch_pb2.Params, at: str) -> Datum:
    """What an instance is for CloudWatch. Its dimensions have no empty values."""
    if instance.name not in params.metric_info:
        raise Refused(f"metricInfo: no {instance.name}")
    unit = Unit.Name(params.metric_info[instance.name].unit)
    found = measured(instance.value)
    if found is None:
        raise Refused(f"{instance.name}: its value is no number")
    if isinstance(found, timedelta):
        if unit not in PER_SECOND:
            raise Refused(f"metricInfo[{instance.name}].unit: {unit} is no unit of time")
        found = found.total_seconds() * PER_SECOND[unit]
    shown = [(name, each[:MAX_LENGTH]) for name, each in filled(instance.dimensions).items()]
    return Datum(params.namespace, instance.name, found, unit, at, dict(shown[:MAX_DIMENSIONS]))


def event(instance: logentry.InstanceMsg, params: cloudwatch_pb2.Params, at: int) -> Event:
    """What a log entry is; ``at`` if it has no time of its own."""
    if instance.name not in params.logs:
        raise Refused(f"logs: no {instance.name}")
    variables = filled(instance.variables)
    template = params.logs[instance.name].payload_template
    message = payload(template, variables) if template else json.dumps(variables)
    if instance.HasField("timestamp"):
        at = instance.timestamp.value.ToMilliseconds()
    return Event(params.log_group_name, params.log_stream_name, at, message or instance.name)


def calls(items: Sequence[Datum | Event]) -> list[Call]:
    """The requests that take them all: of metrics by namespace, of events by stream."""
    data = [each for each in items if isinstance(each, Datum)]
    events = [each for each in items if isinstance(each, Event)]
    return [
        *(
            _put_metric_data(namespace, [each for each in data if each.namespace == namespace])
            for namespace in sorted({each.namespace for each in data})
        ),
        *(
            _put_log_events(place, [each for each in events if each[:2] == place])
            for place in sorted({each[:2] for each in events})
        ),
    ]


def _put_metric_data(namespace: str, data: Sequence[Datum]) -> Call:
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    return Call("monitoring", headers, urlencode(_form(namespace, data)).encode(), len(data))


def _put_log_events(place: tuple[str, str], events: Sequence[Event]) -> Call:
    group, stream = place
    body = {
        "logGroupName": group,
        "logStreamName": stream,
        "logEvents": [
            {"timestamp": each.at, "message": each.message}
            for each in sorted(events, key=lambda each: each.at)
        ],
    }
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": "Logs_20140328.PutLogEvents",
    }
    return Call("logs", headers, json.dumps(body).encode(), len(events))


def _form(namespace: str, data: Sequence[Datum]) -> dict[str, str]:
    """The parameters of PutMetricData."""
    found = {"Action": "PutMetricData", "Version": "2010-08-01", "Namespace": namespace}
    for number, each in enumerate(data, 1):
        at = f"MetricData.member.{number}"
        found[f"{at}.MetricName"] = each.name
        found[f"{at}.Value"] = f"{each.value:.17g}"
        found[f"{at}.Unit"] = each.unit
        found[f"{at}.Timestamp"] = each.at
        for place, (name, value) in enumerate(each.dimensions.items(), 1):
            found[f"{at}.Dimensions.member.{place}.Name"] = name
            found[f"{at}.Dimensions.member.{place}.Value"] = value
    return found
