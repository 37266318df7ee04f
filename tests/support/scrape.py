"""What a Prometheus takes from a page of metrics, which must be as the format wants it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TypeAlias

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

Labels: TypeAlias = frozenset[tuple[str, str]]


def scraped(text: str) -> Mapping[tuple[str, Labels], float]:
    """Samples by name and labels.

    Asserts that the page is clean: every family once, with help and type before its samples; no
    sample twice; buckets of histograms complete, cumulative and in order.
    """
    declared = [line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(declared) == len(set(declared))
    assert not text or text.endswith("\n")
    found: dict[tuple[str, Labels], float] = {}
    for family in text_string_to_metric_families(text):
        assert family.type in {"counter", "gauge", "histogram"}, family
        assert family.documentation, family
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
        if family.type == "histogram":
            _check_histogram(family)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(found)
    return found


def _check_histogram(family: Metric) -> None:
    buckets: dict[Labels, list[tuple[float, float]]] = defaultdict(list)
    counts: dict[Labels, float] = {}
    for sample in family.samples:
        labels = dict(sample.labels)
        if sample.name.endswith("_bucket"):
            bound = float(labels.pop("le"))
            buckets[frozenset(labels.items())].append((bound, sample.value))
        elif sample.name.endswith("_count"):
            counts[frozenset(labels.items())] = sample.value
    assert buckets.keys() == counts.keys()
    for labels, found in buckets.items():
        assert found == sorted(set(found))
        assert found[-1] == (float("inf"), counts[labels])
