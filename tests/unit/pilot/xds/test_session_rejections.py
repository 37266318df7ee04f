"""What a client refuses, and what waits for its answers (pilot.md B2, B18, B19)."""

from mast.pilot.core.xds.outputs import Rejected
from mast.pilot.core.xds.resources import CDS, LDS, RDS
from mast.pilot.core.xds.watch import SyncState
from tests.fakes.pilot_views import (
    FakeMesh,
    assignment,
    eds_cluster,
    listener,
    routes,
    static_cluster,
)
from tests.fakes.xds_streams import Stream, said, started


class TestBackPressure:
    """B18: one open response per type, but for clusters (B4)."""

    def test_later_changes_wait_and_merge(self, stream):
        started(stream)
        stream.mesh.put(assignment("a", [8]))
        (first,) = stream.push()
        stream.mesh.put(assignment("a", [9]))
        assert stream.push() == []
        stream.mesh.put(assignment("b", [9]))
        assert stream.push() == []
        assert said(stream.ack(first)) == [("eds", ("a", "b"), ())]

    def test_a_change_that_was_undone_meanwhile_is_sent_back(self, stream):
        started(stream)
        stream.mesh.put(assignment("a", [8]))
        (first,) = stream.push()
        stream.mesh.put(assignment("a", [1]))
        assert stream.push() == []
        assert said(stream.ack(first)) == [("eds", ("a",), ())]

    def test_other_types_go_on(self, stream):
        started(stream)
        stream.mesh.put(assignment("a", [8]))
        stream.push()
        stream.mesh.put(routes("r", "b"))
        assert said(stream.push()) == [("rds", ("r",), ())]

    def test_clusters_do_not_wait(self, stream):
        started(stream)
        stream.mesh.put(static_cluster("s"))
        first = stream.push()
        stream.mesh.put(static_cluster("t"))
        second = stream.push()
        assert said(first + second) == [("cds", ("s",), ()), ("cds", ("t",), ())]
        assert stream.ack(*first, *second) == []
        assert stream.session.state.watches[CDS].state is SyncState.SYNCED

    def test_requests_do_not_wait(self, stream):
        stream.ask("eds", "a")
        assert said(stream.ask("eds", "b")) == [("eds", ("b",), ())]


class TestRejections:
    """B19, B2: the last good state stays, nothing is sent twice, a bad one harms no other."""

    def test_are_facts(self, stream):
        (told,) = stream.ask("lds")
        stream.facts.clear()
        assert stream.nack(told, "no such filter") == []
        assert stream.facts == [Rejected(LDS, told.nonce, "no such filter", ("l",))]
        watch = stream.session.state.watches[LDS]
        assert (watch.state, watch.error, watch.rejections) == (
            SyncState.ERROR,
            "no such filter",
            1,
        )
        assert watch.acked_version == ""

    def test_without_a_reason_are_rejections(self, stream):
        (told,) = stream.ask("lds")
        stream.nack(told, "")
        assert stream.session.state.watches[LDS].error == "rejected without a reason"

    def test_are_not_answered_with_the_same(self, stream):
        stream.nack(*stream.ask("lds"))
        assert stream.push() == []
        stream.mesh.put(routes("r", "b"))
        assert stream.push() == []

    def test_end_with_the_next_version(self, stream):
        stream.nack(*stream.ask("lds"))
        stream.mesh.put(listener("l", "r", "better"))
        (told,) = stream.push()
        assert told.names == ("l",)
        stream.ack(told)
        assert stream.session.state.watches[LDS].state is SyncState.SYNCED

    def test_leave_other_types_alone(self, stream):
        started(stream)
        stream.mesh.put(listener("l", "r", "bad"))
        stream.nack(*stream.push())
        stream.mesh.put(assignment("a", [8]))
        assert said(stream.push()) == [("eds", ("a",), ())]

    def test_that_name_the_bad_cluster_concern_only_it(self, stream):
        (told,) = stream.ask("cds")
        assert stream.nack(told, "Error adding/updating cluster(s) a: no good") == []
        stream.mesh.put(eds_cluster("b", "x"))
        (told,) = stream.push()
        assert told.names == ("b",)
        stream.ack(told)
        assert stream.session.state.watches[CDS].error
        stream.mesh.remove(CDS, "a")
        assert said(stream.after(5) or stream.push()) == []
        assert said(stream.after(5)) == [("cds", (), ("a",))]

    def test_find_the_offender_among_many(self):
        mesh = FakeMesh()
        names = tuple("abcdefgh")
        mesh.put(*(routes(name, name) for name in names))
        stream = Stream(mesh)
        seen = []
        told = stream.ask("rds", *names)
        while told:
            (each,) = told
            seen.append(each.names)
            told = stream.nack(each) if "f" in each.names else stream.ack(each)
        assert seen[0] == names
        assert len(set(seen)) == len(seen)
        assert set().union(*(each for each in seen if "f" not in each)) == set(names) - {"f"}
        assert ("f",) in seen
        watch = stream.session.state.watches[RDS]
        assert watch.trial.refused.keys() == {"f"}
        mesh.put(routes("f", "better"), routes("a", "changed"))
        (told,) = stream.push()
        assert told.names == ("a", "f")
        assert stream.ack(told) == []
        assert watch.state is SyncState.SYNCED
        assert watch.trial.neutral

    def test_of_everything_end(self):
        """A client that rejects whatever it gets is left alone until something changes."""
        mesh = FakeMesh()
        names = tuple(f"r{number}" for number in range(100))
        mesh.put(*(routes(name, name) for name in names))
        stream = Stream(mesh)
        told, rounds = stream.ask("rds", *names), 0
        while told:
            (each,), rounds = told, rounds + 1
            told = stream.nack(each)
        assert rounds <= 17
        assert stream.push() == []
        mesh.put(routes("r99", "changed"))
        assert stream.push() != []

    def test_of_a_removed_resource_remove_it(self, stream):
        started(stream)
        stream.mesh.put(listener("m"), listener("n"))
        (told,) = stream.push()
        stream.mesh.remove(LDS, "m", "n")
        assert stream.push() == []
        (retry,) = stream.nack(told)
        assert (retry.names, retry.removed) == ((), ("m", "n"))

    def test_of_removals_change_nothing(self, stream):
        started(stream)
        stream.mesh.remove(LDS, "l")
        assert stream.nack(*stream.push()) == []
        assert stream.push() == []

    def test_of_an_older_cluster_response(self, stream):
        started(stream)
        stream.mesh.put(static_cluster("s"))
        (first,) = stream.push()
        stream.mesh.put(static_cluster("s", "better"))
        (second,) = stream.push()
        assert stream.nack(first) == []
        assert stream.ack(second) == []
        assert stream.session.state.watches[CDS].state is SyncState.SYNCED

    def test_with_an_unknown_nonce_are_counted(self, stream):
        started(stream)
        assert stream.ask("rds", nonce="other", error="old news") == []
        assert stream.facts == [Rejected(RDS, "other", "old news", ())]
