"""The protocol of one stream: nonces, ACK, NACK, what is sent and what never is (A4.2-A4.4)."""

from __future__ import annotations

from istio.mcp.v1alpha1 import resource_pb2
from mast.common.keys import config_key
from mast.galley.core.mcp.catalog import Catalog, Snapshot
from mast.galley.core.mcp.watches import PART_BYTES, Answer, Push, Watches

RULES = "istio/networking/v1alpha3/destinationrules"
GATEWAYS = "istio/networking/v1alpha3/gateways"


class Mesh:
    """A catalog whose revision rises with every change."""

    def __init__(self) -> None:
        self._catalog = Catalog()
        self._revision = 0

    def change(
        self, *, put: str = "", drop: str = "", collection: str = RULES, size: int = 0
    ) -> Snapshot:
        """The snapshot after objects (letters) are written and deleted in namespace ``n``."""
        self._revision += 1
        resource = resource_pb2.Resource()
        resource.body.value = bytes(size)
        value = resource.SerializeToString()
        changes = [(config_key(collection, "n", name), value, self._revision) for name in put]
        gone = [(config_key(collection, "n", name), None, self._revision) for name in drop]
        self._catalog.apply([*changes, *gone], self._revision)
        return self._catalog.snapshot()


def names(push: Push | None) -> list[str]:
    assert push is not None
    return [each.metadata.name for each in push.resources]


def test_a_watch_gets_the_whole_state_and_the_next_one_after_its_answer() -> None:
    mesh, watches = Mesh(), Watches()
    assert watches.next(mesh.change(put="a")) is None, "nobody asked"
    assert watches.ask(RULES, "") is Answer.NEW
    first = watches.next(mesh.change(put="b"))
    assert first is not None
    assert (names(first), first.nonce, first.version) == (["n/a", "n/b"], "1", "2")
    assert not first.incremental
    newer = mesh.change(put="c")
    assert watches.next(newer) is None, "one is on its way"
    assert watches.ask(RULES, "1") is Answer.ACK
    assert names(watches.next(newer)) == ["n/a", "n/b", "n/c"]


def test_an_empty_collection_is_told() -> None:
    watches = Watches()
    watches.ask(GATEWAYS, "")
    assert names(watches.next(Mesh().change())) == []
    watches.ask(GATEWAYS, "1")
    assert watches.next(Mesh().change()) is None, "once"


def test_only_the_newest_state_is_sent() -> None:
    mesh, watches = Mesh(), Watches()
    watches.ask(RULES, "")
    watches.next(mesh.change(put="a"))
    for name in "bcd":
        assert watches.next(mesh.change(put=name)) is None
    newest = mesh.change(drop="b")
    watches.ask(RULES, "1")
    push = watches.next(newest)
    assert push is not None
    assert (push.nonce, names(push)) == ("2", ["n/a", "n/c", "n/d"])


def test_what_was_rejected_comes_again_when_it_has_changed() -> None:
    mesh, watches = Mesh(), Watches()
    bad = mesh.change(put="a")
    watches.ask(RULES, "", incremental=True)
    watches.next(bad)
    assert watches.ask(RULES, "1", rejected=True) is Answer.NACK
    assert watches.next(bad) is None
    push = watches.next(mesh.change(put="b"))
    assert names(push) == ["n/a", "n/b"], "what was not acknowledged is in it"


def test_stale_and_invented_nonces_change_nothing() -> None:
    mesh, watches = Mesh(), Watches()
    assert watches.ask(RULES, "7") is Answer.STALE
    assert watches.next(mesh.change(put="a")) is None
    watches.ask(RULES, "")
    watches.next(mesh.change(put="a"))
    newer = mesh.change(put="b")
    assert watches.ask(RULES, "9") is Answer.STALE
    assert watches.next(newer) is None
    assert watches.ask(RULES, "1") is Answer.ACK
    assert watches.ask(RULES, "1") is Answer.STALE
    watches.next(newer)
    assert watches.ask(RULES, "1") is Answer.STALE
    assert watches.next(mesh.change(put="c")) is None


def test_increments() -> None:
    mesh, watches = Mesh(), Watches()
    watches.ask(RULES, "", incremental=True)
    first = watches.next(mesh.change(put="ab"))
    assert first is not None
    assert first.incremental
    assert names(first) == ["n/a", "n/b"]
    watches.ask(RULES, "1")
    second = watches.next(mesh.change(put="bc", drop="a"))
    assert second is not None
    assert (names(second), second.removed) == (["n/b", "n/c"], ("n/a",))


def test_increments_are_cut_at_a_mebibyte_and_full_states_never_are() -> None:
    mesh, watches = Mesh(), Watches()
    mesh.change(put="abcd", collection=GATEWAYS, size=PART_BYTES)
    snapshot = mesh.change(put="abcde", size=PART_BYTES // 3)
    watches.ask(GATEWAYS, "")
    assert names(watches.next(snapshot)) == ["n/a", "n/b", "n/c", "n/d"]
    watches.ask(RULES, "", incremental=True)
    assert names(watches.next(snapshot)) == ["n/a", "n/b"]
    assert watches.next(snapshot) is None, "one part is on its way"
    assert watches.ask(RULES, "2", rejected=True) is Answer.NACK
    assert names(watches.next(snapshot)) == ["n/c", "n/d"], "a bad part keeps no other away"
    watches.ask(RULES, "3")
    newer = mesh.change(put="f", drop="d")
    push = watches.next(newer)
    assert push is not None
    assert names(push) == ["n/a", "n/b"], "what was rejected comes with the next change"
    assert push.removed == ("n/d",)
    watches.ask(RULES, "4")
    push = watches.next(newer)
    assert push is not None
    assert (names(push), push.removed) == (["n/e", "n/f"], ())
    watches.ask(RULES, "5")
    assert watches.next(newer) is None


def test_a_resource_larger_than_a_part_goes_alone() -> None:
    mesh, watches = Mesh(), Watches()
    watches.ask(RULES, "", incremental=True)
    snapshot = mesh.change(put="ab", size=2 * PART_BYTES)
    assert names(watches.next(snapshot)) == ["n/a"]
    watches.ask(RULES, "1")
    assert names(watches.next(snapshot)) == ["n/b"]


def test_a_sink_that_comes_back_gets_what_it_lacks() -> None:
    mesh = Mesh()
    snapshot = mesh.change(put="ab")
    watches = Watches()
    versions = {"n/a": "1", "n/b": "0", "n/gone": "1"}
    watches.ask(RULES, "", incremental=True, versions=versions)
    push = watches.next(snapshot)
    assert push is not None
    assert (names(push), push.removed) == (["n/b"], ("n/gone",))


def test_versions_mean_nothing_to_a_full_watch() -> None:
    watches = Watches()
    watches.ask(RULES, "", versions={"n/a": "1"})
    assert names(watches.next(Mesh().change(put="a"))) == ["n/a"]


def test_to_ask_again_is_to_begin_again() -> None:
    mesh, watches = Mesh(), Watches()
    snapshot = mesh.change(put="a")
    watches.ask(RULES, "")
    watches.next(snapshot)
    assert watches.ask(RULES, "") is Answer.NEW
    again = watches.next(snapshot)
    assert again is not None
    assert (again.nonce, names(again)) == ("2", ["n/a"])
    assert watches.ask(RULES, "1") is Answer.STALE


def test_collections_take_turns_and_nonces_count_for_all() -> None:
    mesh, watches = Mesh(), Watches()
    watches.ask(RULES, "")
    watches.ask(GATEWAYS, "")
    snapshot = mesh.change(put="a")
    pushes = [watches.next(snapshot), watches.next(snapshot), watches.next(snapshot)]
    told = [(each.watch, each.nonce) for each in pushes if each is not None]
    assert told == [(RULES, "1"), (GATEWAYS, "2")]
    watches.ask(GATEWAYS, "2")
    watches.ask(RULES, "1")
    mesh.change(put="b")
    newer = mesh.change(put="b", collection=GATEWAYS)
    push = watches.next(newer)
    assert push is not None
    assert (push.watch, push.nonce) == (RULES, "3")
    assert len(watches) == 2


def test_several_names_of_one_collection() -> None:
    mesh, watches = Mesh(), Watches(lambda name: RULES if name.startswith("v") else "")
    for name in ("v1", "v2", "other"):
        watches.ask(name, "")
    snapshot = mesh.change(put="a")
    pushes = [watches.next(snapshot) for _ in range(3)]
    assert {each.watch: names(each) for each in pushes if each} == {
        "v1": ["n/a"],
        "v2": ["n/a"],
        "other": [],
    }
