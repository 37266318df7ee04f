"""What proxies say of the metrics made of their reports: not this one, other labels there.

Pilot puts it into the tags of access logs for Telemetry objects (pilot.md K5): `telemetry` holds
a JSON object, `telemetry.0` and so on what expressions in it gave for this request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from mast.mixer.core.values import Get, Value

TAG: Final = "telemetry"
ATTRIBUTE: Final = "telemetry"
"""No expression can read it: manifests do not have it."""

_VALUES: Final = f"{TAG}."
_SEPARATOR: Final = "\0"
_REMEMBERED: Final = 4096


@dataclass(frozen=True)
class MetricOverrides:
    """By names as in Prometheus. ``labels`` has values by label and metric, "" to leave it out."""

    disabled: frozenset[str] = frozenset()
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


NO_OVERRIDES: Final = MetricOverrides()


def put_overrides(found: dict[str, Value], tags: Mapping[str, str]) -> None:
    """Keep what the tags of an entry say as one text, so that equal records stay equal."""
    told = tags.get(TAG)
    if told:
        values = [f"{name}={tags[name]}" for name in sorted(tags) if name.startswith(_VALUES)]
        found[ATTRIBUTE] = _SEPARATOR.join([told, *values])


def overrides_of(get: Get) -> MetricOverrides:
    """What is said of the metrics of a record."""
    told = get(ATTRIBUTE)
    return _read(told) if isinstance(told, str) else NO_OVERRIDES


@lru_cache(_REMEMBERED)
def _read(told: str) -> MetricOverrides:
    """The overrides of a kept text; none of a text that no Pilot has written.

    Envoy leaves out tags whose expression gave nothing: so is the label.
    """
    text, *tags = told.split(_SEPARATOR)
    values = dict(each.removeprefix(_VALUES).split("=", 1) for each in tags)
    try:
        content = json.loads(text)
        return MetricOverrides(
            frozenset(map(str, content["disabled"])),
            {
                str(metric): {
                    str(label): values.get(str(number), "") for label, number in labels.items()
                }
                for metric, labels in content["labels"].items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return NO_OVERRIDES
