"""The incremental protocol, rule by rule (pilot.md B11 to B19)."""

from dataclasses import replace

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig

from mast.pilot.core.xds.outputs import Acked, Rejected, Stale
from mast.pilot.core.xds.resources import CDS, ECDS, EDS, LDS, RDS, SDS, resource
from mast.pilot.core.xds.watch import MOST_OUTSTANDING, SyncState
from tests.fakes.pilot_views import (
    FakeMesh,
    assignment,
    eds_cluster,
    listener,
    proxy,
    routes,
    secret,
    static_cluster,
)
from tests.fakes.xds_streams import Stream, said


@pytest.fixture
def mesh():
    made = FakeMesh()
    made.put(eds_cluster("a"), eds_cluster("b"), assignment("a", [1]), assignment("b", [2]))
    made.put(listener("l", route="r"), routes("r", "a"))
    return made


@pytest.fixture
def stream(mesh):
    return Stream(mesh)


def started(stream):
    """A client that has everything and said so."""
    for kind, names in (("cds", ()), ("eds", ("a", "b")), ("lds", ()), ("rds", ("r",))):
        assert stream.ack(*stream.ask(kind, *names)) == []
    stream.facts.clear()
    return stream


def versions(mesh, type_url):
    return {name: each.version for name, each in mesh.view().collection(type_url).resources.items()}


def test_start(stream):
    (clusters,) = stream.ask("cds")
    assert clusters.names == ("a", "b")
    (endpoints,) = stream.ask("eds", "a", "b")
    assert endpoints.names == ("a", "b")
    assert stream.ack(clusters, endpoints) == []
    (listeners,) = stream.ask("lds")
    assert stream.ack(listeners) == []
    (route,) = stream.ask("rds", "r")
    assert stream.ack(route) == []
    assert stream.facts == [
        Acked(url, told.nonce)
        for url, told in ((CDS, clusters), (EDS, endpoints), (LDS, listeners), (RDS, route))
    ]
    assert stream.session.state.deadline is None


@pytest.mark.parametrize("names", [(), ("*",)], ids=["no-names", "star"])
def test_a_wildcard_asks_for_everything(stream, names):
    assert said(stream.ask("cds", *names)) == [("cds", ("a", "b"), ())]


def test_an_empty_wildcard_is_answered():
    assert said(Stream(FakeMesh()).ask("lds")) == [("lds", (), ())]


def test_names_beside_a_wildcard(stream):
    """A cluster on demand: B25. The wildcard stays (B11)."""
    stream.ack(*stream.ask("cds", "*", "x"))
    assert said(stream.ask("cds", "a")) == [("cds", ("a",), ())]
    stream.mesh.put(eds_cluster("c"))
    assert said(stream.ack(stream.push()[0])) == []
    watch = stream.session.state.watches[CDS]
    assert watch.wildcard
    assert watch.names == {"a", "x"}


def test_an_unknown_cluster_is_said_not_to_exist_beside_the_others(stream):
    assert said(stream.ask("cds", "*", "x")) == [("cds", ("a", "b"), ("x",))]


def test_names_only_are_no_wildcard(stream):
    assert said(stream.ask("cds", "a")) == [("cds", ("a",), ())]
    stream.mesh.put(eds_cluster("c"))
    assert stream.push() == []


def test_a_wildcard_can_be_given_up(stream):
    stream.ack(*stream.ask("cds", "*", "a"))
    assert stream.ask("cds", drop=("*",)) == []
    stream.mesh.put(eds_cluster("c"))
    assert stream.push() == []
    stream.mesh.put(eds_cluster("a", "changed"))
    assert said(stream.push()) == [("cds", ("a",), ())]


def test_a_wildcard_can_be_added(stream):
    stream.ack(*stream.ask("cds", "a"))
    assert said(stream.ask("cds", "*")) == [("cds", ("b",), ())]


def test_reconnect_with_current_versions_is_not_answered(mesh):
    stream = Stream(mesh)
    assert stream.ask("cds", initial=versions(mesh, CDS)) == []
    assert stream.ask("eds", "a", "b", initial=versions(mesh, EDS)) == []
    assert stream.ask("lds", initial=versions(mesh, LDS)) == []
    assert stream.ask("rds", "r", initial=versions(mesh, RDS)) == []
    mesh.put(assignment("b", [3]))
    assert said(stream.push()) == [("eds", ("b",), ())]


def test_reconnect_sends_differences_and_removals(mesh):
    stream = Stream(mesh)
    stream.ask("cds", initial=versions(mesh, CDS))
    told = stream.ask("lds", initial={**versions(mesh, LDS), "old": "1"})
    assert said(told) == [("lds", (), ("old",))]
    told = stream.ask("eds", "a", "b", "gone", initial={"a": "stale", "b": "x", "gone": "1"})
    assert said(told) == [("eds", ("a", "b"), ("gone",))]


def test_versions_of_a_reconnect_are_names(mesh):
    """B11: their keys are part of the watch."""
    stream = Stream(mesh)
    assert stream.ask("eds", initial=versions(mesh, EDS)) == []
    assert stream.session.state.watches[EDS].names == {"a", "b"}


@pytest.mark.parametrize("kind", ["eds", "sds"])
def test_unknown_names_are_said_not_to_exist(stream, kind):
    assert said(stream.ask(kind, "x")) == [(kind, (), ("x",))]


def test_an_unknown_route_has_a_stand_in(stream):
    assert said(stream.ask("rds", "x")) == [("rds", ("x",), ())]


def test_an_unknown_name_is_told_once(stream):
    stream.ack(*stream.ask("eds", "x"))
    assert stream.push() == []
    assert said(stream.ask("eds", "x")) == [("eds", (), ("x",))]


def test_a_name_that_comes_to_exist_is_sent(stream):
    stream.ack(*stream.ask("eds", "x"))
    stream.mesh.put(assignment("x", [9]))
    assert said(stream.push()) == [("eds", ("x",), ())]


def test_secrets_that_are_missed_are_counted_once(mesh):
    stream = Stream(mesh)
    stream.ask("sds", "absent", "other")
    assert stream.session.state.missed() == ["absent", "other"]
    stream.ask("sds", "absent")
    assert stream.session.state.missed() == ["absent"]
    stream.ask("eds", "absent")
    assert stream.session.state.missed() == []


def test_extensions_are_never_removed(mesh):
    """B12: Envoy breaks on it."""
    mesh.put(resource("e", ECDS, TypedExtensionConfig(name="e")))
    stream = Stream(mesh)
    assert said(stream.ask("ecds", "e", "unknown")) == [("ecds", ("e",), ())]
    mesh.remove(ECDS, "e")
    assert stream.push() == []


def test_a_name_subscribed_again_is_sent_again(stream):
    stream.ack(*stream.ask("eds", "a"))
    assert said(stream.ask("eds", "a")) == [("eds", ("a",), ())]
    stream.ask("eds", drop=("a",))
    assert said(stream.ask("eds", "a")) == [("eds", ("a",), ())]


def test_a_dropped_name_is_not_pushed(stream):
    stream.ack(*stream.ask("eds", "a", "b"))
    assert stream.ask("eds", drop=("a",)) == []
    stream.mesh.put(assignment("a", [8]))
    assert stream.push() == []


def test_a_push_sends_only_what_changed(stream):
    started(stream)
    stream.mesh.put(assignment("a", [1, 2]))
    assert said(stream.push()) == [("eds", ("a",), ())]


def test_nothing_is_sent_if_nothing_changed(stream):
    started(stream)
    stream.mesh.put(assignment("a", [1]))
    assert stream.push() == []


def test_types_that_are_not_watched_are_not_pushed(stream):
    stream.ack(*stream.ask("cds"))
    stream.mesh.put(assignment("a", [8]), listener("m"))
    assert stream.push() == []


def test_types_are_pushed_in_order(stream):
    started(stream)
    stream.mesh.put(eds_cluster("a", "x"), assignment("a", [8]), listener("l", "r", "x"))
    stream.mesh.put(routes("r", "b"))
    assert [each.type for each in stream.push()] == ["cds", "eds", "lds", "rds"]


class TestEndpointsFollowClusters:
    """B14: Envoy waits for the endpoints of a changed cluster without asking for them."""

    def test_of_a_changed_cluster_even_if_unchanged(self, stream):
        started(stream)
        stream.mesh.put(eds_cluster("a", "changed"))
        assert said(stream.push()) == [("cds", ("a",), ()), ("eds", ("a",), ())]

    def test_only_those_watched(self, stream):
        stream.ack(*stream.ask("cds"))
        stream.ack(*stream.ask("eds", "b"))
        stream.mesh.put(eds_cluster("a", "x"), eds_cluster("b", "x"))
        assert said(stream.push()) == [("cds", ("a", "b"), ()), ("eds", ("b",), ())]

    def test_not_for_clusters_of_other_types(self, stream):
        started(stream)
        stream.mesh.put(static_cluster("s"))
        assert said(stream.push()) == [("cds", ("s",), ())]

    def test_when_the_clusters_are_asked_for_after_the_endpoints(self, stream):
        mesh = stream.mesh
        stream.ask("eds", "a", "b", initial=versions(mesh, EDS))
        told = stream.ask("cds", initial={**versions(mesh, CDS), "a": "old"})
        assert said(told) == [("cds", ("a",), ()), ("eds", ("a",), ())]

    def test_when_the_endpoints_are_asked_for_after_the_clusters(self, stream):
        """The versions of the client are current, and still it waits."""
        mesh = stream.mesh
        stream.ask("cds", initial={**versions(mesh, CDS), "a": "old"})
        told = stream.ask("eds", "a", "b", initial=versions(mesh, EDS))
        assert said(told) == [("eds", ("a",), ())]

    def test_as_soon_as_an_earlier_response_is_acknowledged(self, stream):
        started(stream)
        stream.mesh.put(assignment("a", [8]))
        (endpoints,) = stream.push()
        stream.mesh.put(eds_cluster("a", "x"))
        assert said(stream.push()) == [("cds", ("a",), ())]
        assert said(stream.ack(endpoints)) == [("eds", ("a",), ())]

    def test_once(self, stream):
        started(stream)
        stream.mesh.put(eds_cluster("a", "x"))
        assert stream.ack(*stream.push()) == []
        assert stream.push() == []


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


class TestAdditions:
    """N4: a route to a cluster that is not ready fails requests, so it waits for the cluster."""

    @pytest.fixture
    def adding(self, stream):
        started(stream)
        stream.mesh.put(eds_cluster("c"), assignment("c", [3]), routes("r", "c"))
        stream.mesh.put(listener("l", "r", "new"))
        (clusters,) = stream.push()
        assert clusters.names == ("c",)
        return stream, clusters

    def test_come_before_listeners_and_routes(self, adding):
        stream, clusters = adding
        assert said(stream.ask("eds", "c")) == [("eds", ("c",), ())]
        assert said(stream.ack(clusters)) == [("lds", ("l",), ()), ("rds", ("r",), ())]
        assert stream.session.state.deadline is None

    def test_do_not_delay_them_for_ever(self, adding):
        stream, _ = adding
        assert stream.after(0.9) == []
        assert said(stream.after(0.1)) == [("lds", ("l",), ()), ("rds", ("r",), ())]

    def test_come_before_answers(self, adding):
        """A new listener that waits for its routes can wait a little longer."""
        stream, clusters = adding
        assert stream.ask("rds", "r") == []
        assert [each.type for each in stream.ack(clusters)] == ["lds", "rds"]

    def test_do_not_delay_endpoints(self, adding):
        stream, _ = adding
        stream.mesh.put(assignment("a", [8]))
        assert said(stream.push()) == [("eds", ("a",), ())]

    def test_that_are_rejected_are_not_waited_for(self, adding):
        stream, clusters = adding
        assert [each.type for each in stream.nack(clusters)] == ["lds", "rds"]

    def test_that_are_no_longer_watched_are_not_waited_for(self, adding):
        stream, _ = adding
        stream.session.state.close(CDS)
        assert [each.type for each in stream.push()] == ["lds", "rds"]

    def test_are_not_waited_for_by_proxyless_clients(self, mesh):
        stream = started(Stream(mesh, proxy(GENERATOR="grpc")))
        stream.mesh.put(eds_cluster("c"), routes("r", "c"))
        assert [each.type for each in stream.push()] == ["cds", "rds"]


class TestResumption:
    """N4 once more: on a new stream clusters are often asked for last."""

    @pytest.fixture
    def resumed(self, mesh):
        mesh.put(eds_cluster("c"), assignment("c", [3]), routes("r", "c"))
        stream = Stream(mesh)
        assert stream.ask("rds", "r", initial={"r": "old"}) == []
        return stream

    def test_routes_wait_for_clusters(self, resumed):
        old = {"a": eds_cluster("a").version, "b": eds_cluster("b").version}
        (clusters,) = resumed.ask("cds", initial=old)
        assert clusters.names == ("c",)
        assert said(resumed.ack(clusters)) == [("rds", ("r",), ())]

    def test_routes_do_not_wait_for_clusters_that_are_current(self, resumed):
        told = resumed.ask("cds", initial=versions(resumed.mesh, CDS))
        assert said(told) == [("rds", ("r",), ())]

    def test_routes_do_not_wait_for_ever(self, resumed):
        assert resumed.after(1.9) == []
        assert said(resumed.after(0.1)) == [("rds", ("r",), ())]

    def test_a_client_that_has_nothing_does_not_wait(self, stream):
        assert said(stream.ask("rds", "r")) == [("rds", ("r",), ())]

    def test_a_proxyless_client_does_not_wait(self, mesh):
        stream = Stream(mesh, proxy(GENERATOR="grpc"))
        assert said(stream.ask("rds", "r", initial={"r": "old"})) == [("rds", ("r",), ())]


class TestRemovals:
    """B17: a cluster goes when nothing can refer to it any more."""

    def test_wait_for_the_acknowledgement_of_routes(self, stream):
        started(stream)
        stream.mesh.remove(CDS, "a")
        stream.mesh.remove(EDS, "a")
        stream.mesh.put(routes("r", "b"))
        told = stream.push()
        assert said(told) == [("eds", (), ("a",)), ("rds", ("r",), ())]
        assert said(stream.ack(*told)) == [("cds", (), ("a",))]
        assert stream.session.state.deadline is None

    def test_wait_five_seconds_at_most(self, stream):
        started(stream)
        stream.mesh.remove(CDS, "a")
        stream.mesh.put(routes("r", "b"))
        (route,) = stream.push()
        assert stream.after(4.9) == []
        assert said(stream.after(0.1)) == [("cds", (), ("a",))]
        assert stream.ack(route) == []
        assert stream.session.state.deadline is None

    def test_go_at_once_if_routes_are_settled(self, stream):
        started(stream)
        stream.mesh.remove(CDS, "a")
        assert said(stream.push()) == [("cds", (), ("a",))]

    def test_wait_for_routes_that_new_listeners_will_ask_for(self, stream):
        started(stream)
        stream.mesh.remove(CDS, "a")
        stream.mesh.put(listener("l", route="other"), routes("other", "b"))
        (listeners,) = stream.push()
        assert stream.ack(listeners) == []
        (route,) = stream.ask("rds", "other")
        assert said(stream.ack(route)) == [("cds", (), ("a",))]

    def test_wait_for_listeners_that_were_rejected(self, stream):
        started(stream)
        stream.mesh.remove(CDS, "a")
        stream.mesh.put(listener("l", "r", "bad"))
        (listeners,) = stream.push()
        assert stream.nack(listeners) == []
        assert said(stream.after(5)) == [("cds", (), ("a",))]

    def test_wait_for_listeners_that_were_not_asked_for(self, stream):
        stream.ack(*stream.ask("cds"))
        stream.mesh.remove(CDS, "a")
        assert stream.push() == []
        assert said(stream.after(5)) == [("cds", (), ("a",))]

    def test_need_no_routes_if_no_listener_needs_any(self):
        mesh = FakeMesh()
        mesh.put(static_cluster("s"), listener("l"))
        stream = Stream(mesh)
        stream.ack(*stream.ask("cds"))
        stream.ack(*stream.ask("lds"))
        mesh.remove(CDS, "s")
        assert said(stream.push()) == [("cds", (), ("s",))]

    def test_do_not_hold_up_additions(self, stream):
        started(stream)
        stream.mesh.remove(CDS, "a")
        stream.mesh.put(static_cluster("s"), routes("r", "s"))
        (clusters,) = stream.push()
        assert clusters.names == ("s",)
        (route,) = stream.ack(clusters)
        assert said([route]) == [("rds", ("r",), ())]
        assert said(stream.ack(route)) == [("cds", (), ("a",))]

    def test_are_forgotten_if_the_cluster_comes_back(self, stream):
        started(stream)
        stream.mesh.remove(CDS, "a")
        stream.mesh.put(routes("r", "b"))
        (route,) = stream.push()
        stream.mesh.put(eds_cluster("a"))
        assert stream.push() == []
        assert stream.ack(route) == []
        assert stream.session.state.deadline is None

    def test_of_clusters_that_are_no_longer_watched_are_not_due(self, stream):
        started(stream)
        stream.mesh.remove(CDS, "a")
        stream.mesh.put(routes("r", "b"))
        stream.push()
        stream.session.state.close(CDS)
        assert stream.after(5) == []
        assert stream.session.state.deadline is None

    def test_of_listeners_and_routes_do_not_wait(self, stream):
        started(stream)
        stream.mesh.remove(LDS, "l")
        assert said(stream.push()) == [("lds", (), ("l",))]


class TestReconnectWhileWarming:
    """B15: Envoy does not ask for clusters while one warms, and would wait for ever."""

    @pytest.fixture
    def warming(self, stream):
        stream.ask("eds", "a", "b", initial=versions(stream.mesh, EDS))
        stream.ask("lds", initial=versions(stream.mesh, LDS))
        return stream

    def test_endpoints_are_sent_after_a_second(self, warming):
        assert warming.after(0.9) == []
        assert said(warming.after(0.1)) == [("eds", ("a", "b"), ())]

    def test_endpoints_are_sent_even_if_a_response_is_open(self, warming):
        warming.mesh.put(assignment("a", [8]))
        warming.push()
        assert said(warming.after(1)) == [("eds", ("a", "b"), ())]

    def test_clusters_are_sent_after_five_seconds(self, warming):
        warming.ack(*warming.after(1))
        assert warming.after(3.9) == []
        told = warming.after(0.1)
        assert said(told) == [("cds", ("a", "b"), ()), ("eds", ("a", "b"), ())]
        assert warming.ack(*told) == []
        assert warming.session.state.deadline is None

    def test_both_if_the_time_for_both_has_come(self, warming):
        assert said(warming.after(6)) == [("cds", ("a", "b"), ()), ("eds", ("a", "b"), ())]

    def test_an_answer_to_clusters_told_unasked_is_an_acknowledgement(self, warming):
        clusters, endpoints = warming.after(6)
        warming.ack(endpoints)
        initial = {**versions(warming.mesh, CDS), "old": "1"}
        told = warming.ask("cds", nonce=clusters.nonce, initial=initial)
        assert warming.facts[-1] == Acked(CDS, clusters.nonce)
        assert said(told) == []
        assert said(warming.ack(*warming.ask("rds", "r"))) == [("cds", (), ("old",))]

    def test_an_answer_without_older_clusters(self, warming):
        clusters, endpoints = warming.after(6)
        warming.ack(endpoints)
        assert warming.ask("cds", nonce=clusters.nonce, initial={"a": "1"}) == []

    def test_a_request_that_crossed_with_it_is_the_first_one(self, warming):
        warming.after(6)
        told = warming.ask("cds", initial={**versions(warming.mesh, CDS), "b": "old"})
        assert said(told)[0] == ("cds", ("b",), ())

    def test_not_if_clusters_were_asked_for(self, stream):
        stream.ask("eds", "a", initial=versions(stream.mesh, EDS))
        stream.ask("cds", initial=versions(stream.mesh, CDS))
        stream.ask("lds", initial=versions(stream.mesh, LDS))
        assert stream.session.state.deadline is None
        assert stream.after(10) == []

    def test_not_for_routes_alone(self, stream):
        stream.ask("rds", "r")
        assert stream.session.state.deadline is None

    @pytest.mark.parametrize(
        "who", [proxy("ztunnel"), proxy(GENERATOR="grpc")], ids=["ztunnel", "proxyless"]
    )
    def test_not_for_others_than_envoy(self, mesh, who):
        stream = Stream(mesh, who)
        stream.ask("eds", "a")
        assert stream.session.state.deadline is None

    def test_listeners_alone(self, stream):
        stream.ack(*stream.ask("lds", initial=versions(stream.mesh, LDS)))
        assert stream.after(1) == []
        assert said(stream.after(4)) == [("cds", ("a", "b"), ())]


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


def test_names_count_even_if_the_nonce_is_stale(stream):
    stream.ack(*stream.ask("eds", "a"))
    stream.facts.clear()
    assert said(stream.ask("eds", "b", nonce="stale")) == [("eds", ("b",), ())]
    assert stream.facts == [Stale(EDS, "stale")]


def test_a_stale_nonce_alone_is_not_answered(stream):
    started(stream)
    assert stream.ask("cds", nonce="stale") == []
    assert stream.facts == [Stale(CDS, "stale")]


def test_names_count_even_with_an_error(stream):
    (told,) = stream.ask("eds", "a")
    answer = stream.ask("eds", "b", nonce=told.nonce, error="bad")
    assert said(answer) == [("eds", ("b",), ())]


def test_withheld_types_do_not_exist(mesh):
    """A5: no secrets without TLS."""
    mesh.put(secret("cert"))
    assert said(Stream(mesh, withheld=frozenset({SDS})).ask("sds", "cert")) == [
        ("sds", (), ("cert",))
    ]
    assert said(Stream(mesh).ask("sds", "cert")) == [("sds", ("cert",), ())]


def test_a_forced_push_sends_everything_again(stream):
    started(stream)
    told = stream.push(resend=True)
    assert said(told) == [
        ("cds", ("a", "b"), ()),
        ("eds", ("a", "b"), ()),
        ("lds", ("l",), ()),
        ("rds", ("r",), ()),
    ]
    assert stream.ack(*told) == []


def test_proxies_of_a_view_are_sent_the_same_bytes(mesh):
    first = started(Stream(mesh))
    second = started(replace(first))
    mesh.put(assignment("a", [8]), routes("r", "b"))
    for one, other in zip(first.push(number=99), second.push(number=99), strict=True):
        assert one.send.payload is other.send.payload


def test_a_message_is_not_kept_longer_than_its_push(mesh):
    first = started(Stream(mesh))
    second = started(replace(first))
    mesh.put(assignment("a", [8]))
    (one,) = first.push(number=99)
    first.shared.age()
    (other,) = second.push(number=99)
    assert one.send.payload == other.send.payload
    assert one.send.payload is not other.send.payload


def test_of_a_client_that_accepts_nothing_only_so_much_is_remembered(stream):
    """B4: a missing acknowledgement of clusters is no reason to stop; memory is bounded."""
    stream.ack(*stream.ask("cds"))
    told = []
    for number in range(2 * MOST_OUTSTANDING):
        stream.mesh.put(static_cluster("c", str(number)))
        told += stream.push()
    watch = stream.session.state.watches[CDS]
    assert len(told) == 2 * MOST_OUTSTANDING
    assert len(watch.outstanding) == MOST_OUTSTANDING
    stream.ack(*told)
    assert watch.quiet


def test_a_nonce_is_never_used_twice(stream):
    """Design 4: not even when content goes from A to B to A."""
    told = [*stream.ask("eds", "a"), *stream.ask("eds", "a")]
    for ports in ([1], [2], [1], [2]):
        stream.mesh.put(assignment("a", ports))
        told += stream.ack(*told)
        told += stream.push()
        told += stream.ask("eds", "a")
    nonces = [each.nonce for each in told]
    assert len(nonces) > 8
    assert len(set(nonces)) == len(nonces)


def test_a_watch_tells_what_was_sent_and_acknowledged(stream):
    (told,) = stream.ask("eds", "a", "b")
    watch_of = stream.session.state.watches
    assert (watch_of[EDS].state, watch_of[EDS].resources) == (SyncState.STALE, 2)
    assert watch_of[EDS].sent_at == stream.now
    stream.after(1)
    stream.ack(told)
    assert watch_of[EDS].acked_at == stream.now
    assert watch_of[EDS].acked_version == watch_of[EDS].sent_version
    stream.ask("cds", initial=versions(stream.mesh, CDS))
    assert stream.session.state.watches[CDS].state is SyncState.NOT_SENT
