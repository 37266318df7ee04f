"""Dashboards ask for series that there are."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import CHART
from tools.chart.dashboards import ALL

SERVICES = Path(__file__).parents[3] / "services"
# Those of etcd itself, and of the scrapes that the operator of Prometheus labels.
ETCD = {
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_network_peer_round_trip_time_seconds",
}
_METRIC = re.compile(r"\b([a-z]+_[a-z0-9_]+)(?=\{|\)|$)")
_LABELS = re.compile(r"\{([^}]*)\}")
# What code puts names together of.
_PREFIXES = (
    "citadel_server_",
    "citadel_server_cert_chain",
    "citadel_server_root_cert",
    "galley_validation_",
    "galley_validation_config_",
    "istio_",
    "sidecar_injection_",
)


@cache
def words() -> frozenset[str]:
    """Of the code, and of Mixer's default rules."""
    paths = [*SERVICES.rglob("*.py"), *SERVICES.rglob("defaults/telemetry.yaml")]
    return frozenset(re.findall(r"\w+", "\n".join(path.read_text() for path in paths)))


def known(metric: str) -> bool:
    """Whether code or rules have the name, or the end of it that is put after a prefix."""
    base = re.sub(r"_(bucket|sum|count)$", "", metric)
    if {metric, base} & ETCD:
        return True
    names = {base, metric}
    for prefix in _PREFIXES:
        names |= {each.removeprefix(prefix) for each in (base, metric) if each.startswith(prefix)}
    names |= {each.removesuffix("_total") for each in names if each.endswith("_total")}
    return bool(names & words())


def queries() -> list[tuple[str, str]]:
    return [
        (f"{name}-{panel['title']}", target["expr"])
        for name in ALL
        for panel in json.loads((CHART / "files" / "dashboards" / f"{name}.json").read_text())[
            "panels"
        ]
        for target in panel.get("targets", ())
    ]


@pytest.mark.parametrize("name", ALL)
def test_shape(name: str) -> None:
    found: Any = json.loads((CHART / "files" / "dashboards" / f"{name}.json").read_text())
    assert found["uid"] == f"mast-{name}"
    numbers = [panel["id"] for panel in found["panels"]]
    assert len(numbers) == len(set(numbers))
    places = [
        (x, y)
        for panel in found["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(places) == len(set(places)), "panels lie over each other"


def test_queries_name_series_that_there_are() -> None:
    asked = {
        metric
        for _, query in queries()
        for metric in _METRIC.findall(re.sub(r"\bby \([^)]*\)", "", query))
        if not metric.startswith("histogram_")
    }
    assert len(asked) > 40
    assert {metric for metric in asked if not known(metric)} == set()


def test_brackets_close() -> None:
    for _, query in queries():
        for opening, closing in ("()", "{}", "[]"):
            assert query.count(opening) == query.count(closing)
        for labels in _LABELS.findall(query):
            assert re.fullmatch(r'(\w+(=|=~|!~|!=)"[^"]*"(, )?)*', labels), labels
