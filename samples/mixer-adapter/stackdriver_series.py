"""What is counted for Google Cloud Monitoring: one point a push for each series."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

import stackdriver_pb2
from values import Refused, filled, measured

from istio.mixer.template.metric import template_handler_service_pb2

MetricInfo = stackdriver_pb2.Params.MetricInfo
MAX_SERIES = 10_000


class Key(NamedTuple):
    """What makes a series."""

    project: str
    type: str
    kind: str
    value: str
    labels: tuple[tuple[str, str], ...]
    resource: str
    place: tuple[tuple[str, str], ...]


@dataclass
class Series:
    """A series: what it has had since it began, or since the last push."""

    since: str
    bounds: Sequence[float]
    options: dict[str, Any]
    number: float = 0.0
    count: int = 0
    squares: float = 0.0
    buckets: list[int] = field(default_factory=list)
    changed: bool = False

    def add(self, value: float, *, gauge: bool) -> None:
        """Count a value; a gauge forgets those before."""
        if gauge:
            self.clear()
        self.number += value
        self.count += 1
        self.squares += value * value
        self.buckets = self.buckets or [0] * (len(self.bounds) + 1)
        self.buckets[bisect_right(self.bounds, value)] += 1
        self.changed = True

    def clear(self) -> None:
        """Begin again."""
        self.number, self.count, self.squares, self.buckets = 0.0, 0, 0.0, []

    def point(self, value: str) -> dict[str, Any]:
        """The value as the service has it."""
        if value == "INT64":
            return {"int64Value": str(int(self.number))}
        if value == "DOUBLE":
            return {"doubleValue": self.number}
        mean = self.number / self.count
        return {
            "distributionValue": {
                "count": str(self.count),
                "mean": mean,
                "sumOfSquaredDeviation": max(self.squares - self.number * mean, 0.0),
                "bucketOptions": self.options,
                "bucketCounts": [str(each) for each in self.buckets],
            }
        }


class Metrics:
    """All series of all handlers."""

    def __init__(self) -> None:
        self._series: dict[Key, Series] = {}

    def add(
        self,
        instance: template_handler_service_pb2.InstanceMsg,
        params: stackdriver_pb2.Params,
        at: str,
    ) -> None:
        """Count an instance; Refused if it is no metric, or there are too many series."""
        if instance.name not in params.metric_info:
            raise Refused(f"metricInfo: no {instance.name}")
        info = params.metric_info[instance.name]
        found = measured(instance.value)
        if found is None:
            raise Refused(f"{instance.name}: its value is no number")
        value = found.total_seconds() * 1000 if isinstance(found, timedelta) else found
        key = Key(
            params.project_id,
            info.metric_type or f"custom.googleapis.com/{instance.name}",
            MetricInfo.MetricKind.Name(info.kind),
            MetricInfo.ValueType.Name(info.value),
            tuple(filled(instance.dimensions).items()),
            instance.monitored_resource_type or "global",
            tuple(filled(instance.monitored_resource_dimensions).items()),
        )
        if "UNSPECIFIED" in key.kind + key.value:
            raise Refused(f"metricInfo[{instance.name}]: want kind and value")
        if key not in self._series:
            if len(self._series) >= MAX_SERIES:
                raise Refused(f"{instance.name}: more than {MAX_SERIES} series")
            self._series[key] = Series(at, *_buckets(info, key.value))
        self._series[key].add(value, gauge=key.kind == "GAUGE")

    def push(self, at: str) -> dict[str, list[dict[str, Any]]]:
        """The series that have changed, by project, until now."""
        found: dict[str, list[dict[str, Any]]] = {}
        for key, series in self._series.items():
            if not series.changed:
                continue
            interval = {"endTime": at}
            if key.kind != "GAUGE":
                interval["startTime"] = series.since
            point = {"interval": interval, "value": series.point(key.value)}
            found.setdefault(key.project, []).append(_time_series(key, point))
            series.changed = False
            if key.kind == "DELTA":
                series.clear()
                series.since = at
        return found


def _time_series(key: Key, point: dict[str, Any]) -> dict[str, Any]:
    return {
        "metric": {"type": key.type, "labels": dict(key.labels)},
        "resource": {"type": key.resource, "labels": dict(key.place)},
        "metricKind": key.kind,
        "valueType": key.value,
        "points": [point],
    }


def _buckets(info: MetricInfo, value: str) -> tuple[Sequence[float], dict[str, Any]]:
    """Bounds, and how the service is told of them."""
    if value != "DISTRIBUTION":
        return (), {}
    match info.buckets.WhichOneof("definition"):
        case "linear_buckets":
            linear = info.buckets.linear_buckets
            count = linear.num_finite_buckets
            return [linear.offset + linear.width * each for each in range(count + 1)], {
                "linearBuckets": {
                    "numFiniteBuckets": count,
                    "width": linear.width,
                    "offset": linear.offset,
                }
            }
        case "exponential_buckets":
            growing = info.buckets.exponential_buckets
            count, factor = growing.num_finite_buckets, growing.growth_factor
            return [growing.scale * factor**each for each in range(count + 1)], {
                "exponentialBuckets": {
                    "numFiniteBuckets": count,
                    "growthFactor": factor,
                    "scale": growing.scale,
                }
            }
        case "explicit_buckets":
            bounds = list(info.buckets.explicit_buckets.bounds)
            return bounds, {"explicitBuckets": {"bounds": bounds}}
    raise Refused("metricInfo: a DISTRIBUTION needs buckets")
