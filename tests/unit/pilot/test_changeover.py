"""When changes of policies about mutual TLS go on."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from mast.pilot.core.model.index import Index
from mast.pilot.core.model.settling import Settling, Step, advanced
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.world.world import World
from mast.pilot.store.changeover import LONGEST, Changeover

STARTED: Settling = {"shop": Step({})}


@dataclass
class Fleet:
    """A mesh whose proxies follow when they are told to, and a clock that stands still."""

    snapshot: MeshSnapshot = field(default_factory=lambda: World().snapshot(1))
    at: timedelta = timedelta()
    synced: bool = False
    asked: int = 0
    steps: int = 0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def instant(self) -> timedelta:
        return self.at

    async def followed(self, generation: int) -> bool:
        assert generation == self.snapshot.index.generation
        self.asked += 1
        return self.synced

    async def proceed(self) -> None:
        self.steps += 1
        self.push(advanced(self.snapshot.index.settling))

    def push(self, settling: Settling) -> None:
        """Policies are at another step."""
        before = self.snapshot.index
        index = Index(generation=before.generation + 1, settling=settling)
        self.snapshot = replace(self.snapshot, index=index)


def changeover(fleet: Fleet) -> Changeover:
    return Changeover(
        lambda: fleet.snapshot, fleet.followed, fleet.proceed, fleet, timedelta(seconds=2)
    )


async def looked(after: Changeover, fleet: Fleet, seconds: int) -> tuple[int, int]:
    """How often proxies were asked and steps were taken, so much later."""
    fleet.at += timedelta(seconds=seconds)
    await after.look()
    return fleet.asked, fleet.steps


async def test_it_goes_on_once_proxies_followed_but_not_at_once() -> None:
    fleet = Fleet(synced=True)
    after = changeover(fleet)
    assert await looked(after, fleet, 0) == (0, 0)
    fleet.push(STARTED)
    assert await looked(after, fleet, 0) == (0, 0)
    assert await looked(after, fleet, 1) == (0, 0)
    assert await looked(after, fleet, 1) == (1, 1)
    assert fleet.snapshot.index.settling["shop"].callers_follow
    assert await looked(after, fleet, 1) == (1, 1)
    assert await looked(after, fleet, 2) == (2, 2)
    assert fleet.snapshot.index.settling == {}
    assert await looked(after, fleet, 99) == (2, 2)


async def test_it_waits_for_proxies_but_not_for_ever() -> None:
    fleet = Fleet()
    after = changeover(fleet)
    fleet.push(STARTED)
    assert await looked(after, fleet, 0) == (0, 0)
    assert await looked(after, fleet, 5) == (1, 0)
    assert await looked(after, fleet, 5) == (2, 0)
    assert await looked(after, fleet, LONGEST.seconds - 10) == (2, 1)


async def test_another_change_begins_anew() -> None:
    fleet = Fleet(synced=True)
    after = changeover(fleet)
    fleet.push(STARTED)
    assert await looked(after, fleet, 0) == (0, 0)
    fleet.push({"bank": Step({})})
    assert await looked(after, fleet, 1) == (0, 0)
    assert await looked(after, fleet, 1) == (0, 0)
    assert await looked(after, fleet, 1) == (1, 1)


async def test_a_step_is_taken_once_however_late_it_is_pushed() -> None:
    fleet = Fleet(synced=True)
    after = changeover(fleet)
    fleet.push(STARTED)
    unpushed = fleet.snapshot
    assert await looked(after, fleet, 0) == (0, 0)
    assert await looked(after, fleet, 2) == (1, 1)
    fleet.snapshot = unpushed
    assert await looked(after, fleet, 9) == (1, 1)
