"""How often callers may come."""

from __future__ import annotations

import pytest

from mast.galley.core.mcp.pace import Pace


def test_a_burst_then_one_after_the_other() -> None:
    pace = Pace(per_second=1, burst=3)
    assert [pace.delay(10.0) for _ in range(5)] == [0, 0, 0, 1, 2]


def test_who_waits_longer_may_burst_again_but_not_more() -> None:
    pace = Pace(per_second=2, burst=2)
    assert [pace.delay(0.0) for _ in range(3)] == [0, 0, 0.5]
    assert pace.delay(1.0) == 0
    assert [pace.delay(1000.0) for _ in range(3)] == pytest.approx([0, 0, 0.5])
