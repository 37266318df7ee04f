"""Rows of proxy-status."""

from __future__ import annotations

from typing import Any

import pytest

from mast.cli.proxy_commands import status_of


@pytest.mark.parametrize(
    ("row", "rejected", "states"),
    [
        pytest.param({}, {}, ["NOT SENT"] * 5, id="nothing"),
        pytest.param(
            {"cluster_sent": "1", "cluster_acked": "1", "route_sent": "2", "route_acked": "1"},
            {},
            ["SYNCED", "NOT SENT", "NOT SENT", "STALE", "NOT SENT"],
            id="some",
        ),
        pytest.param(
            {"cluster_sent": "1", "listener_sent": "2", "listener_acked": "2"},
            {"cds": "no such filter", "ecds": "late"},
            ["ERROR", "SYNCED", "NOT SENT", "NOT SENT", "ERROR"],
            id="rejected",
        ),
    ],
)
def test_status_of(row: dict[str, Any], rejected: dict[str, str], states: list[str]) -> None:
    found = status_of({"proxy": "a.b", "cluster_id": "c", **row}, rejected, "pilot-1")
    assert [each["state"] for each in found["types"].values()] == states
    assert list(found["types"]) == ["CDS", "LDS", "EDS", "RDS", "ECDS"]
    reasons = [each["reason"] for each in found["types"].values() if "reason" in each]
    assert reasons == list(rejected.values())
    assert (found["proxy"], found["cluster"], found["istiod"]) == ("a.b", "c", "pilot-1")
