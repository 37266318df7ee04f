"""Whatever is written, deleted and forgotten: history tells every state that it covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mast.common.keys import config_key
from mast.galley.core.history import (
    ABSENT,
    History,
    Operation,
    Origin,
    Past,
    Recorded,
    Scope,
    forgotten,
    past,
    record,
    recorded,
    replaced,
)
from mast.galley.core.plan import Write

KEYS = [config_key("istio/networking/v1alpha3/gateways", "n", name) for name in "abc"]
NOON = datetime(2026, 1, 1, tzinfo=UTC)

State = Mapping[str, Past]
# For each transaction: what becomes of some objects (None: deleted), and revisions of others.
TRANSACTIONS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(KEYS), st.none() | st.binary(max_size=2), min_size=1),
        st.integers(0, 2),
    ),
    max_size=12,
)


class Store:
    """What etcd would hold, and every state it has been in."""

    def __init__(self) -> None:
        self.revision = 5
        self.now: dict[str, Past] = {}
        self.states: dict[int, State] = {5: {}}
        self.changes: list[Recorded] = []
        self.contents: dict[str, Mapping[str, bytes]] = {}

    def write(self, wanted: Mapping[str, bytes | None], others: int) -> None:
        writes = [
            Write(key, self.now.get(key, ABSENT).revision, value)
            for key, value in wanted.items()
            if value is not None or key in self.now
        ]
        if not writes:
            return
        self.revision += 1
        before = {key: each.value or b"" for key, each in self.now.items()}
        change, old = record(writes, before, Origin("me", Operation.APPLY), NOON)
        id = str(self.revision)
        self.changes.append(recorded(id, change, self.revision))
        self.contents[id] = replaced(id, old)
        for write in writes:
            if write.value is None:
                del self.now[write.key]
            else:
                self.now[write.key] = Past(self.revision, write.value)
        for revision in range(self.revision, self.revision + others + 1):
            self.states[revision] = dict(self.now)
        self.revision += others

    def told(self, history: History, revision: int) -> State:
        """The state that the history and what is stored now add up to."""
        found = {}
        for key in KEYS:
            later = history.later(key, revision)
            if later is None:
                found[key] = self.now.get(key, ABSENT)
            else:
                found[key] = past(key, revision, later, self.contents[later[0].id])
        return {key: each for key, each in found.items() if each != ABSENT}


@given(TRANSACTIONS, st.integers(1, 20))
def test_every_state_is_told(
    transactions: Sequence[tuple[Mapping[str, bytes | None], int]], keep: int
) -> None:
    store = Store()
    for wanted, others in transactions:
        store.write(wanted, others)
    gone = forgotten(store.changes, keep, timedelta(days=1), NOON)
    kept = store.changes[len(gone) :]
    assert len(kept) == min(keep, len(store.changes))
    history = History(kept, store.revision)
    known = [revision for revision in store.states if revision >= history.oldest]
    assert store.revision in known
    for revision in known:
        assert store.told(history, revision) == store.states[revision]
    for first in known:
        for last in known:
            before, after = store.states[first], store.states[last]
            differ = {key for key in KEYS if before.get(key) != after.get(key)}
            assert differ <= history.touched(first, last, Scope()).keys() or first > last
