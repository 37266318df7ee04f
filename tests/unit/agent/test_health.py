"""Verdicts of a group's probe, and what the probe is (citadel-and-agent.md B9)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from istio.networking.v1alpha3.workload_group_pb2 import ReadinessProbe
from mast.agent.core.ads import Health
from mast.agent.core.health import Pace, Verdicts, pace
from mast.agent.core.probers import ExecProbe, GrpcProbe, HttpProbe, Probe, TcpProbe, readiness


def probe(**fields: Any) -> ReadinessProbe:
    return ParseDict(fields, ReadinessProbe())


def test_pace() -> None:
    assert pace(probe()) == Pace(timedelta(), timedelta(seconds=10), timedelta(seconds=1), 1, 1)
    given = probe(
        initialDelaySeconds=1,
        periodSeconds=2,
        timeoutSeconds=3,
        successThreshold=4,
        failureThreshold=5,
    )
    second = timedelta(seconds=1)
    assert pace(given) == Pace(second, 2 * second, 3 * second, 4, 5)


@pytest.mark.parametrize(
    ("successes", "failures", "results", "told"),
    [
        pytest.param(1, 1, ["", "", ""], [Health(), None, None], id="told-once"),
        pytest.param(1, 1, ["a", "b"], [Health("a"), None], id="the-reason-may-change"),
        pytest.param(
            1, 1, ["", "x", ""], [Health(), Health("x"), Health()], id="every-change-is-told"
        ),
        pytest.param(
            1, 3, ["", "x", "x", "", "x", "x", "x"],
            [Health(), None, None, None, None, None, Health("x")], id="failures-in-a-row",
        ),
        pytest.param(
            2, 1, ["x", "", "x", "", ""], [Health("x"), None, None, None, Health()],
            id="successes-in-a-row",
        ),
        pytest.param(3, 1, ["", "", ""], [None, None, Health()], id="first-verdict-waits-too"),
    ],
)  # fmt: skip
def test_verdicts(
    successes: int, failures: int, results: list[str], told: list[Health | None]
) -> None:
    times = timedelta(seconds=1)
    verdicts = Verdicts(Pace(times, times, times, successes, failures))
    assert [verdicts.observe(result) for result in results] == told


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {
                "timeoutSeconds": 2,
                "httpGet": {
                    "port": 8080,
                    "path": "/ok",
                    "scheme": "HTTPS",
                    "host": "h",
                    "httpHeaders": [{"name": "a", "value": "b"}],
                },
            },
            HttpProbe(
                port=8080,
                path="/ok",
                https=True,
                host="h",
                headers=(("a", "b"),),
                timeout=timedelta(seconds=2),
            ),
            id="http",
        ),
        pytest.param(
            {"httpGet": {"port": 80}}, HttpProbe(port=80, path="/"), id="http-with-defaults"
        ),
        pytest.param({"tcpSocket": {"port": 80}}, TcpProbe(port=80), id="tcp"),
        pytest.param(
            {"tcpSocket": {"port": 80, "host": "h"}}, TcpProbe(port=80, host="h"), id="tcp-host"
        ),
        pytest.param(
            {"exec": {"command": ["test", "-e", "x"]}},
            ExecProbe(command=("test", "-e", "x")),
            id="exec",
        ),
        pytest.param(
            {"grpc": {"port": 80, "service": "s"}}, GrpcProbe(port=80, service="s"), id="grpc"
        ),
    ],
)
def test_probes(fields: dict[str, Any], expected: Probe) -> None:
    assert readiness(probe(**fields)) == expected


def test_a_probe_must_say_how() -> None:
    with pytest.raises(ValueError, match="readinessProbe: want one of"):
        readiness(probe())
