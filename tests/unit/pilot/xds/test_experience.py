"""What one proxy rejects is kept from new ones of its class (pilot.md N14)."""

import pytest

from mast.pilot.core.xds.experience import Experience, Experiences, Refusal
from mast.pilot.core.xds.report import Replica, proxy_status
from mast.pilot.core.xds.report import Stream as Reported
from mast.pilot.core.xds.resources import CDS, LDS
from mast.pilot.core.xds.watch import SyncState
from mastapi.status.v1.status_pb2 import TypeStatus
from tests.fakes.pilot_views import FakeMesh, assignment, eds_cluster, listener, static_cluster
from tests.fakes.xds_streams import Stream
from tests.unit.pilot.xds.test_report import NOON

BAD = "Error adding/updating listener(s) l: no such filter"

OLD, NEW = static_cluster("a", "old"), static_cluster("a", "new")


def refusal(reason: str = "bad") -> dict[str, Refusal]:
    return {"a": Refusal(NEW.version, reason)}


class TestExperience:
    @pytest.mark.parametrize(
        ("reason", "counts"),
        [
            ("unknown filter", True),
            ("cannot bind '0.0.0.0:80': Address already in use", False),
            ("error: Permission denied", False),
        ],
    )
    def test_reasons_of_one_machine_do_not_count(self, reason, counts):
        experience = Experience()
        experience.refuse(CDS, refusal(reason))
        assert bool(experience.warning(CDS)) is counts

    def test_what_another_took_is_good(self):
        experience = Experience()
        experience.take([NEW])
        experience.refuse(CDS, refusal())
        assert experience.warning(CDS) == {}
        experience.take([OLD])
        experience.refuse(CDS, refusal())
        assert experience.warning(CDS).keys() == {"a"}
        experience.take([NEW])
        assert experience.warning(CDS) == {}

    def test_hearsay_is_not_passed_on(self):
        experience = Experience()
        experience.refuse(CDS, {"a": Refusal(NEW.version, "bad", by_another=True)})
        assert experience.warning(CDS) == {}

    def test_types_are_kept_apart(self):
        experience = Experience()
        experience.refuse(CDS, refusal())
        assert experience.warning(LDS) == {}
        assert experience.warning(CDS)["a"].by_another

    def test_classes_are_kept_apart_and_forgotten(self):
        known = Experiences()
        known.of("web").refuse(CDS, refusal())
        assert known.of("db").warning(CDS) == {}
        for _ in range(3):
            known.age()
            assert known.of("web").warning(CDS)
        known.age()
        known.age()
        assert not known.of("web").warning(CDS)

    def test_a_response_is_credited_once_to_each_class(self):
        known, response = Experiences(), object()
        known.credit("web", response, [OLD])
        known.credit("web", response, [NEW])
        assert known.of("web").taken == {(CDS, "a"): OLD}
        known.credit("db", response, [NEW])
        assert known.of("db").taken == {(CDS, "a"): NEW}
        known.age()
        known.credit("web", response, [NEW])
        assert known.of("web").taken == {(CDS, "a"): NEW}


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
class TestNewStreams:
    @staticmethod
    def pair(mesh, delta):
        """A stream that has a listener, and a way to open others like it."""
        first = Stream(mesh, delta=delta)
        first.ack(*first.ask("lds"))

        def another() -> Stream:
            return Stream(mesh, delta=delta, shared=first.shared, numbers=first.numbers)

        return first, another

    def test_get_the_last_good_version(self, delta):
        mesh = FakeMesh()
        mesh.put(listener("l", stat="good"), listener("m"))
        first, another = self.pair(mesh, delta)
        mesh.put(listener("l", stat="bad"))
        (told,) = first.push()
        first.nack(told, BAD)
        second = another()
        (told,) = second.ask("lds")
        assert sorted(told.names) == ["l", "m"]
        held = second.session.state.watches[LDS]
        assert held.held["l"] == listener("l", stat="good").version
        second.ack(told)
        assert second.push() == []
        assert held.state is SyncState.ERROR
        assert "another proxy rejected it: Error adding" in held.error

    def test_do_without_what_was_never_good(self, delta):
        mesh = FakeMesh()
        mesh.put(listener("m"))
        first, another = self.pair(mesh, delta)
        mesh.put(listener("l", stat="bad"))
        (told,) = first.push()
        first.nack(told, BAD)
        (told,) = another().ask("lds")
        assert told.names == ("m",)

    def test_get_the_next_version(self, delta):
        mesh = FakeMesh()
        mesh.put(listener("l", stat="good"))
        first, another = self.pair(mesh, delta)
        mesh.put(listener("l", stat="bad"))
        first.nack(first.push()[0], BAD)
        second = another()
        second.ack(*second.ask("lds"))
        mesh.put(listener("l", stat="better"))
        (told,) = second.push()
        assert told.names == ("l",)
        second.ack(told)
        watch = second.session.state.watches[LDS]
        assert (watch.state, watch.error) == (SyncState.SYNCED, "")
        assert watch.trial.neutral
        assert another().ask("lds")[0].names == ("l",)

    def test_get_what_another_one_takes(self, delta):
        mesh = FakeMesh()
        mesh.put(listener("l", stat="good"))
        first, another = self.pair(mesh, delta)
        willing = another()
        willing.ack(*willing.ask("lds"))
        mesh.put(listener("l", stat="bad"))
        first.nack(first.push()[0], BAD)
        willing.ack(*willing.push())
        third = another()
        third.ack(*third.ask("lds"))
        assert third.session.state.watches[LDS].state is SyncState.SYNCED

    def test_keep_it_while_other_things_change(self, delta):
        """A full set holds every name: also that of the listener that is left out."""
        mesh = FakeMesh()
        mesh.put(listener("l", stat="good"), listener("m"))
        first, another = self.pair(mesh, delta)
        mesh.put(listener("l", stat="bad"))
        first.nack(first.push()[0], BAD)
        second = another()
        second.ack(*second.ask("lds"))
        mesh.put(listener("m", stat="changed"))
        (told,) = second.push()
        assert sorted(told.names) == (["m"] if delta else ["l", "m"])
        assert told.removed == ()

    def test_get_endpoints_of_the_good_cluster(self, delta):
        """B14 holds for what takes the place of another."""
        mesh = FakeMesh()
        mesh.put(eds_cluster("a", "good"), assignment("a", [1]))
        first = Stream(mesh, delta=delta)
        first.ack(*first.ask("cds"))
        mesh.put(eds_cluster("a", "bad"))
        first.nack(first.push()[0], "Error adding/updating cluster(s) a: bad")
        second = Stream(mesh, delta=delta, shared=first.shared, numbers=first.numbers)
        (clusters,) = second.ask("cds")
        assert clusters.names == ("a",)
        (endpoints,) = second.ask("eds", "a")
        assert endpoints.names == ("a",)

    def test_status_names_the_offender(self, delta):
        """Acceptance 7: resource and reason, for who rejected it and for who does not get it."""
        mesh = FakeMesh()
        mesh.put(listener("l", stat="good"))
        first, another = self.pair(mesh, delta)
        mesh.put(listener("l", stat="bad"))
        first.nack(first.push()[0], BAD)
        second = another()
        second.ask("lds")
        found = []
        for each in (first, second):
            stream = Reported("x", each.proxy, NOON, "", "", lambda at: NOON + at)
            status = proxy_status(stream, each.session.state, Replica("pilot-1", "0.1"))
            (listeners,) = status.types
            assert listeners.state == TypeStatus.ERROR
            (refused,) = listeners.refused
            assert (refused.name, refused.reason) == ("l", BAD)
            assert refused.version == listener("l", stat="bad").version
            found.append(refused.by_another)
        assert found == [False, True]
