"""In which order clusters, listeners and what they need are told (pilot.md B14 to B17, N4)."""

import pytest

from mast.pilot.core.xds.outputs import Acked
from mast.pilot.core.xds.resources import CDS, EDS, LDS
from tests.fakes.pilot_views import (
    FakeMesh,
    assignment,
    eds_cluster,
    listener,
    proxy,
    routes,
    static_cluster,
)
from tests.fakes.xds_streams import Stream, said, started, versions


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
