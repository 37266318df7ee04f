"""Conflation against a model of etcd: whatever the order of listings, events and reads."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mast.common.etcd.fold import BATCH_LIMIT, Fold
from mast.common.etcd.model import Batch, Entry

KEYS = st.sampled_from("abcde")


class Etcd:
    """History of a store: for each revision the keys written (None: deleted)."""

    def __init__(self) -> None:
        self.history: list[dict[str, bytes | None]] = [{}]

    @property
    def revision(self) -> int:
        return len(self.history)

    def commit(self, writes: dict[str, bytes | None]) -> None:
        state = self.state(self.revision)
        effective = {k: v for k, v in writes.items() if v is not None or k in state}
        if effective:
            self.history.append(effective)

    def state(self, revision: int) -> dict[str, Entry]:
        state: dict[str, Entry] = {}
        for at, writes in enumerate(self.history[:revision], start=1):
            for key, value in writes.items():
                if value is None:
                    del state[key]
                else:
                    created = state[key].create_revision if key in state else at
                    version = state[key].version + 1 if key in state else 1
                    state[key] = Entry(key, value, at, created, version, 0)
        return state

    def events(self, first: int, last: int) -> list[tuple[str, int, Entry | None]]:
        found: list[tuple[str, int, Entry | None]] = []
        for at in range(max(1, first), last + 1):
            state = self.state(at)
            found += [(key, at, state.get(key)) for key in self.history[at - 1]]
        return found


class Following(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.etcd = Etcd()
        self.fold = Fold()
        self.told: dict[str, bytes] = {}
        self.last: dict[str, int] = {}
        self.ever_synced = False

    @rule(writes=st.dictionaries(KEYS, st.none() | st.binary(max_size=2), min_size=1))
    def write(self, writes: dict[str, bytes | None]) -> None:
        self.etcd.commit(writes)

    @rule(size=st.integers(1, 5), pages=st.integers(0, 6), meanwhile=st.booleans())
    def list(self, size: int, pages: int, meanwhile: bool) -> None:
        """A listing that may break off after some pages, with a read in the middle."""
        revision = self.etcd.revision
        entries = sorted(self.etcd.state(revision).values(), key=lambda entry: entry.key)
        self.fold.begin()
        for n in range(pages):
            if n * size > len(entries):
                break
            self.fold.page(entries[n * size : (n + 1) * size], revision)
            if meanwhile:
                self.read()
        if pages * size >= len(entries):
            self.fold.complete(revision)

    @precondition(lambda self: self.fold.complete_listing)
    @rule(back=st.integers(0, 3), ahead=st.integers(0, 10))
    def watch(self, back: int, ahead: int) -> None:
        """Events, some of them known already, of whole revisions."""
        known = self.fold.revision
        last = min(known + ahead, self.etcd.revision)
        self.fold.changed(self.etcd.events(known + 1 - back, last))

    @precondition(lambda self: self.fold.complete_listing)
    @rule()
    def progress(self) -> None:
        self.fold.changed(self.etcd.events(self.fold.revision + 1, self.etcd.revision))
        self.fold.advanced(self.etcd.revision)
        assert self.fold.revision == self.etcd.revision

    @rule()
    def read(self) -> None:
        if self.fold.ready:
            self.add(self.fold.take())

    def add(self, batch: Batch) -> None:
        assert len({change.key for change in batch.changes}) == len(batch.changes)
        for change in batch.changes:
            assert change.mod_revision > self.last.get(change.key, 0)
            assert change.previous == self.told.get(change.key)
            assert change.value is not None or change.previous is not None
            self.last[change.key] = change.mod_revision
            self.told.pop(change.key, None)
            if change.value is not None:
                self.told[change.key] = change.value
                entry = self.etcd.state(change.mod_revision)[change.key]
                assert change.create_revision == entry.create_revision
        assert batch.changes or batch.synced
        if batch.synced:
            self.ever_synced = True
            expected = self.etcd.state(batch.revision)
            assert self.told == {key: entry.value for key, entry in expected.items()}

    @invariant()
    def a_read_leaves_nothing(self) -> None:
        if not self.fold.ready and self.fold.complete_listing:
            assert self.ever_synced
            expected = self.etcd.state(self.fold.revision)
            assert self.told == {key: entry.value for key, entry in expected.items()}


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)


def test_a_big_difference_comes_in_parts_and_is_synced_with_the_last() -> None:
    fold = Fold()
    size = 2 * BATCH_LIMIT + 1
    fold.page((Entry(str(n), b"", 1, 1, 1, 0) for n in range(size)), 1)
    fold.complete(1)
    batches = []
    while fold.ready:
        batches.append(fold.take())
    assert [len(b.changes) for b in batches] == [BATCH_LIMIT, BATCH_LIMIT, 1]
    assert [b.synced for b in batches] == [False, False, True]
