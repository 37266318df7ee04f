"""Load shedding at the door (mixer.md A1, I1)."""

from __future__ import annotations

import pytest

from mast.mixer.api.admission import Admission
from mast.mixer.api.errors import Overloaded
from mast.mixer.core.shedding import LatencyLimiter, Mode, RateLimiter, Shedder
from tests.support.log_events import Events, log_events
from tests.support.mixer_config import Clock


def admission(mode: Mode, clock: Clock, refused: list[float]) -> Admission:
    """One that admits one unit of cost in a thousand seconds."""
    limit = Shedder(mode, RateLimiter(0.001, 1), LatencyLimiter(0, 1, 0))
    return Admission(limit, clock, refused.append)


def told(events: Events) -> list[tuple[int, float]]:
    """Calls and cost of each line."""
    found = []
    while not events.empty():
        line = events.get_nowait()
        assert line["event"] == "request.would_be_shed"
        found.append((line["calls"], line["cost"]))
    return found


def test_logonly_tells_and_admits() -> None:
    """I1: a line a second, with all that came since the one before."""
    clock, refused = Clock(), list[float]()
    door = admission(Mode.LOGONLY, clock, refused)
    with log_events() as events:
        assert door.admit(1) == clock.now
        assert told(events) == []
        for cost in (1, 2, 3):
            door.admit(cost)
        assert told(events) == [(1, 1)]
        clock.now += 1
        door.admit(10)
        assert told(events) == [(3, 15)]
    assert refused == []


def test_enforce_refuses_and_counts() -> None:
    """A1, I1: with the cost."""
    refused: list[float] = []
    door = admission(Mode.ENFORCE, Clock(), refused)
    door.admit(1)
    with pytest.raises(Overloaded, match=r"Server is currently overloaded\. Please try again\."):
        door.admit(7)
    assert refused == [7]


def test_disabled_admits_everything() -> None:
    door = admission(Mode.DISABLED, Clock(), [])
    with log_events() as events:
        for _ in range(3):
            door.admit(100)
        assert told(events) == []
