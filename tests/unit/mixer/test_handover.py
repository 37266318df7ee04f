"""What a Mixer that closes leaves of open connections (mixer_proxy.md K6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from structlog.testing import capture_logs

from mast.common.etcd import Entry, Unavailable
from mast.common.keys import flows_key
from mast.mixer.core.tcp_flows import Entries
from mast.mixer.store.handover import KEPT, StoredHandover
from tests.support.messages import made

NODE = "sidecar~10.0.0.2~ratings-1.shop~d"
LEFT = made(
    Entries,
    "log_entry: [{common_properties: {stream_id: '1'}, connection_properties: {sent_bytes: 5}}]",
)


@dataclass
class Shelf:
    """As much of a store as is needed; `away` makes it fail."""

    away: bool = False
    leases: list[timedelta] = field(default_factory=list)
    held: dict[str, tuple[bytes, int]] = field(default_factory=dict)

    def _asked(self) -> None:
        if self.away:
            raise Unavailable("put", "127.0.0.1:1", "nobody there")

    async def expiring(self, ttl: timedelta) -> int:
        self._asked()
        self.leases.append(ttl)
        return len(self.leases)

    async def put(self, key: str, value: bytes, lease: int = 0) -> int:
        self._asked()
        self.held[key] = value, lease
        return 1

    async def get(self, key: str) -> Entry | None:
        self._asked()
        found = self.held.get(key)
        return Entry(key, found[0], 1, 1, 1, found[1]) if found else None


async def test_what_one_left_another_takes() -> None:
    shelf = Shelf()
    one, other = StoredHandover(shelf), StoredHandover(shelf)  # type: ignore[arg-type]
    assert await other.take(NODE) == Entries()
    await one.leave(NODE, lambda: LEFT)
    await one.leave("else", Entries)
    assert await other.take(NODE) == LEFT
    assert shelf.leases == [KEPT]
    assert {lease for _, lease in shelf.held.values()} == {1}
    assert set(shelf.held) == {flows_key(NODE), flows_key("else")}


async def test_without_etcd_nothing_is_handed_over() -> None:
    handover = StoredHandover(Shelf(away=True))  # type: ignore[arg-type]
    with capture_logs() as events:
        assert await handover.take(NODE) == Entries()
        for _ in range(3):
            await handover.leave(NODE, lambda: LEFT)
    assert [each["event"] for each in events] == ["flows.not_taken", "flows.not_left"]
