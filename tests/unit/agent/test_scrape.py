"""Where metrics are fetched, and how pages become one (citadel-and-agent.md B7)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mast.agent.core.scrape import Page, Target, merged, targets, urls

OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.mark.parametrize(
    ("annotations", "found"),
    [
        pytest.param({"scrape": "true"}, (Target(80, "/metrics"),), id="defaults"),
        pytest.param(
            {"scrape": "true", "port": "9100", "path": "stats"}, (Target(9100, "/stats"),), id="one"
        ),
        pytest.param(
            {"scrape": True, "targets": [{"port": 1, "path": "/a"}, {"port": "2"}]},
            (Target(1, "/a"), Target(2, "/metrics")),
            id="several",
        ),
        pytest.param({"scrape": "false", "port": "9100"}, (), id="off"),
        pytest.param({"port": "9100"}, (), id="not-asked-for"),
    ],
)
def test_targets(annotations: dict[str, Any], found: tuple[Target, ...]) -> None:
    assert targets(json.dumps(annotations)) == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "no JSON"),
        ("[]", "want a JSON object"),
        ('{"scrape":"true","port":"x"}', "port 'x'"),
        ('{"scrape":"true","port":"0"}', "port '0'"),
        ('{"scrape":"true","port":"15020"}', "port 15020: is a port of the mesh"),
    ],
)
def test_unusable_targets_are_named(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"ISTIO_PROMETHEUS_ANNOTATIONS.*{problem}"):
        targets(text)


def test_no_annotations() -> None:
    assert targets("") == ()


def test_urls() -> None:
    found = (Target(9080, "/metrics"), Target(9090, "/m"))
    endpoints = {"9080": "127.0.0.1:43121"}
    assert urls(found, endpoints, ipv6_only=False) == (
        "http://127.0.0.1:43121/metrics",
        "http://127.0.0.1:9090/m",
    )
    assert urls(found[1:], {}, ipv6_only=True) == ("http://[::1]:9090/m",)


def test_application_comes_last() -> None:
    page = merged("own 1\n", Page("text/plain", b"envoy 2"), [Page("text/plain", b"app 3\n")])
    assert page.body == b"own 1\nenvoy 2\napp 3\n"
    assert page.content_type.startswith("text/plain; version=0.0.4")


def test_open_metrics_ends_once() -> None:
    pages = [Page(OPEN, b"first 1\n# EOF\n"), Page(OPEN, b"second 2\n# EOF\n")]
    page = merged("own 1\n", None, pages)
    assert page.body == b"own 1\nfirst 1\nsecond 2\n# EOF\n"
    assert page.content_type == OPEN


def test_an_open_metrics_page_before_a_plain_one_has_no_end() -> None:
    page = merged("", None, [Page(OPEN, b"first 1\n# EOF\n"), Page("text/plain", b"second 2\n")])
    assert page.body == b"first 1\nsecond 2\n"


def test_dead_parts_are_left_out() -> None:
    assert merged("own 1\n", None, []).body == b"own 1\n"
