"""Readiness and connection counts from Envoy's statistics (citadel-and-agent.md B6.2, B7)."""

from __future__ import annotations

import pytest

from mast.agent.core.readiness import Readiness, active_connections, stats

GOOD = {
    "cluster_manager.cds.update_success": 1,
    "listener_manager.lds.update_success": 1,
    "server.state": 0,
    "listener_manager.workers_started": 1,
}


def without(name: str, value: int | None = None) -> dict[str, int]:
    rest = {key: found for key, found in GOOD.items() if key != name}
    return rest if value is None else {**rest, name: value}


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        pytest.param(GOOD, None, id="ready"),
        pytest.param(None, "admin port does not answer", id="no-admin"),
        pytest.param(
            {
                **without("cluster_manager.cds.update_success"),
                "cluster_manager.cds.update_rejected": 2,
            },
            "CDS 0 accepted, 2 rejected, LDS 1 accepted, 0 rejected",
            id="no-cds",
        ),
        pytest.param(
            without("listener_manager.lds.update_success", 0), "LDS 0 accepted", id="no-lds"
        ),
        pytest.param(without("server.state", 2), "server.state 2", id="initializing"),
        pytest.param(without("server.state"), "server.state unknown", id="no-state"),
        pytest.param(
            without("listener_manager.workers_started"), "workers have not started", id="no-workers"
        ),
    ],
)
def test_conditions(seen: dict[str, int] | None, problem: str | None) -> None:
    problems = Readiness(names_needed=False).problems(seen)
    assert len(problems) == (problem is not None)
    assert not problem or problem in problems[0]


def test_configuration_is_remembered() -> None:
    readiness = Readiness(names_needed=False)
    assert readiness.problems(GOOD) == ()
    after_restart = {**GOOD, "cluster_manager.cds.update_success": 0}
    assert readiness.problems(after_restart) == ()


def test_names_if_they_are_captured() -> None:
    readiness = Readiness(names_needed=True)
    assert readiness.problems(GOOD) == ("the DNS proxy has no name table yet",)
    assert readiness.problems_without_envoy() == ("the DNS proxy has no name table yet",)
    readiness.names_known = True
    assert readiness.problems(GOOD) == ()
    assert readiness.problems_without_envoy() == ()


def test_every_problem_is_named() -> None:
    assert len(Readiness(names_needed=True).problems({})) == 4


def test_terminating() -> None:
    readiness = Readiness(names_needed=False, terminating=True)
    assert readiness.problems(GOOD) == ("the proxy is terminating",)
    assert readiness.problems_without_envoy() == ("the proxy is terminating",)


def test_stats_text() -> None:
    text = "server.state: 0\nlistener.x: y: 7\nhistogram: P0(1,2)\nnothing\n"
    assert stats(text) == {"server.state": 0, "listener.x: y": 7}


@pytest.mark.parametrize(
    ("seen", "active"),
    [
        pytest.param({}, None, id="no-statistic"),
        pytest.param({"listener.0.0.0.0_15006.downstream_cx_active": 2}, 2, id="counted"),
        pytest.param(
            {
                "listener.0.0.0.0_15006.downstream_cx_active": 2,
                "listener.[__]_8443.downstream_cx_active": 3,
            },
            5,
            id="summed",
        ),
        pytest.param(
            {
                "listener.0.0.0.0_15021.downstream_cx_active": 1,
                "listener.0.0.0.0_15090.downstream_cx_active": 1,
                "listener.admin.downstream_cx_active": 1,
                "listener.admin.main_thread.downstream_cx_active": 1,
                "listener.0.0.0.0_15006.worker_0.downstream_cx_active": 1,
                "listener.envoy_internal_main.downstream_cx_active": 1,
                "http.inbound.downstream_cx_active": 1,
                "listener.unix.downstream_cx_active": 4,
            },
            4,
            id="own-ports-admin-workers-internal-do-not-count",
        ),
    ],
)
def test_active_connections(seen: dict[str, int], active: int | None) -> None:
    assert active_connections(seen, frozenset({15021, 15090})) == active
