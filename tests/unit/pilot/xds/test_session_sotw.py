"""The state-of-the-world protocol, rule by rule (pilot.md B9, B10, B14 to B19)."""

from dataclasses import replace

import pytest

from mast.pilot.core.xds.outputs import Acked, Rejected, Stale
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS, SDS
from mast.pilot.core.xds.watch import SyncState
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
from tests.fakes.xds_streams import Stream, said, started


@pytest.fixture
def stream(mesh):
    return Stream(mesh, delta=False)


def test_start_as_envoy_does(stream):
    """B1: endpoints are asked for before the clusters are acknowledged."""
    (clusters,) = stream.ask("cds")
    assert clusters.names == ("a", "b")
    (endpoints,) = stream.ask("eds", "b", "a")
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


@pytest.mark.parametrize("nonce", ["", "of-another-stream"], ids=["none", "unknown"])
def test_a_new_watch_is_always_answered(stream, nonce):
    """B9c: on a reconnect the client may repeat what it had; it means nothing here."""
    assert said(stream.ask("cds", nonce=nonce, version="old")) == [("cds", ("a", "b"), ())]


def test_a_request_without_nonce_begins_anew(stream):
    stream.ack(*stream.ask("eds", "a"))
    assert said(stream.ask("eds", "a")) == [("eds", ("a",), ())]


def test_an_empty_set_is_answered():
    stream = Stream(FakeMesh(), delta=False)
    assert said(stream.ask("lds")) == [("lds", (), ())]


def test_no_names_end_a_watch_of_a_named_type(stream):
    """B9b."""
    (told,) = stream.ask("eds", "a")
    assert stream.ask("eds", nonce=told.nonce, version=told.message.version_info) == []
    stream.mesh.put(assignment("a", [8]))
    assert stream.push() == []
    assert said(stream.ask("eds", "a", nonce=told.nonce)) == [("eds", ("a",), ())]


@pytest.mark.parametrize("names", [("a",), ("a", "b")], ids=["same-names", "other-names"])
def test_a_stale_nonce_is_ignored(stream, names):
    """B9d: answering it would loop for ever."""
    (first,) = stream.ask("eds", "a")
    stream.ack(first)
    stream.mesh.put(assignment("a", [8]))
    (second,) = stream.push()
    stream.facts.clear()
    assert stream.ask("eds", *names, nonce=first.nonce) == []
    assert stream.facts == [Stale(EDS, first.nonce)]
    assert stream.session.state.watches[EDS].names == {"a"}
    assert stream.ack(second) == []


def test_an_acknowledgement_is_not_answered(stream):
    """B9g."""
    (told,) = stream.ask("eds", "a")
    assert stream.ack(told) == []
    assert stream.ack(told) == []
    assert stream.facts == [Acked(EDS, told.nonce)]


def test_fewer_names_are_not_answered(stream):
    """B9h."""
    (told,) = stream.ask("eds", "a", "b")
    assert stream.ack(told, names={"eds": ("b",)}) == []
    stream.mesh.put(assignment("a", [8]))
    assert stream.push() == []


def test_more_names_are_answered_with_those(stream):
    """B9i: endpoints and routes may be partial."""
    (told,) = stream.ask("eds", "a")
    assert said(stream.ack(told, names={"eds": ("a", "b")})) == [("eds", ("b",), ())]


def test_a_name_dropped_and_added_is_sent(stream):
    (told,) = stream.ask("eds", "a", "b")
    stream.ack(told, names={"eds": ("a",)})
    assert said(stream.ack(told, names={"eds": ("a", "b")})) == [("eds", ("b",), ())]


@pytest.mark.parametrize("kind", ["eds", "rds"])
def test_unknown_names_have_a_stand_in(stream, kind):
    """B10: never silence."""
    assert said(stream.ask(kind, "x")) == [(kind, ("x",), ())]


def test_an_unknown_secret_cannot_be_spoken_of(stream):
    assert stream.ask("sds", "x") == []
    stream.mesh.put(secret("x"))
    assert said(stream.push()) == [("sds", ("x",), ())]


def test_endpoints_stay_while_their_cluster_goes(stream):
    """An empty assignment would fail requests until the cluster is removed."""
    started(stream)
    stream.mesh.remove(CDS, "a")
    stream.mesh.remove(EDS, "a")
    stream.mesh.put(routes("r", "b"))
    assert said(stream.push()) == [("rds", ("r",), ())]


def test_no_endpoints_are_an_assignment(stream):
    started(stream)
    stream.mesh.put(assignment("a"))
    assert said(stream.push()) == [("eds", ("a",), ())]


def test_a_push_sends_all_clusters_but_only_changed_endpoints(stream):
    started(stream)
    stream.mesh.put(static_cluster("s"), assignment("b", [8]))
    assert said(stream.push()) == [("cds", ("a", "b", "s"), ()), ("eds", ("b",), ())]


def test_nothing_is_sent_if_nothing_changed(stream):
    started(stream)
    stream.mesh.put(assignment("a", [1]), eds_cluster("a"))
    assert stream.push() == []


class TestEndpointsFollowClusters:
    """B14."""

    def test_of_a_changed_cluster_only(self, stream):
        started(stream)
        stream.mesh.put(eds_cluster("a", "changed"))
        assert said(stream.push()) == [("cds", ("a", "b"), ()), ("eds", ("a",), ())]

    def test_when_clusters_are_asked_for_last(self, stream):
        """B9c, f: on a reconnect clusters often come last, and endpoints are waited for."""
        stream.ack(*stream.ask("eds", "a", "b"))
        told = stream.ask("cds", nonce="old", version="old")
        assert said(told) == [("cds", ("a", "b"), ()), ("eds", ("a", "b"), ())]

    def test_the_request_that_repeats_nonce_and_names_is_not_answered(self, stream):
        """B3: it crossed with the endpoints that follow the clusters."""
        (clusters,) = stream.ask("cds")
        (endpoints,) = stream.ask("eds", "a", "b")
        stream.ack(clusters, endpoints)
        stream.mesh.put(eds_cluster("a", "changed"))
        _, following = stream.push()
        assert stream.ack(endpoints) == []
        assert stream.facts[-1] == Stale(EDS, endpoints.nonce)
        assert stream.ack(following) == []

    def test_after_an_open_response(self, stream):
        started(stream)
        stream.mesh.put(assignment("b", [8]))
        (endpoints,) = stream.push()
        stream.mesh.put(eds_cluster("a", "changed"))
        assert said(stream.push()) == [("cds", ("a", "b"), ())]
        assert said(stream.ack(endpoints)) == [("eds", ("a",), ())]


class TestRemovals:
    """B17: the full set keeps a cluster until nothing can refer to it."""

    def test_wait_for_routes(self, stream):
        started(stream)
        stream.mesh.remove(CDS, "a")
        stream.mesh.put(routes("r", "b"))
        told = stream.push()
        assert said(told) == [("rds", ("r",), ())]
        assert said(stream.ack(*told)) == [("cds", ("b",), ())]

    def test_are_left_out_of_a_change(self, stream):
        started(stream)
        stream.mesh.remove(CDS, "a")
        stream.mesh.put(static_cluster("s"), routes("r", "s"))
        (clusters,) = stream.push()
        assert clusters.names == ("a", "b", "s")
        (route,) = stream.ack(clusters)
        assert said([route]) == [("rds", ("r",), ())]
        assert said(stream.ack(route)) == [("cds", ("b", "s"), ())]

    def test_wait_five_seconds_at_most(self, stream):
        started(stream)
        stream.mesh.remove(CDS, "a")
        stream.mesh.put(routes("r", "b"))
        stream.push()
        assert stream.after(4.9) == []
        assert said(stream.after(0.1)) == [("cds", ("b",), ())]

    def test_of_listeners_do_not_wait(self, stream):
        started(stream)
        stream.mesh.remove(LDS, "l")
        assert said(stream.push()) == [("lds", (), ())]


class TestReconnectWhileWarming:
    """B15."""

    @pytest.fixture
    def warming(self, stream):
        stream.ack(*stream.ask("eds", "a", "b", nonce="old", version="old"))
        assert stream.ask("lds", nonce="old", version="old") == []
        return stream

    def test_endpoints_then_clusters(self, warming):
        (endpoints,) = warming.after(1)
        assert said([endpoints]) == [("eds", ("a", "b"), ())]
        warming.ack(endpoints)
        (listeners,) = warming.after(1)
        assert warming.ack(listeners) == []
        told = warming.after(3)
        assert said(told) == [("cds", ("a", "b"), ()), ("eds", ("a", "b"), ())]
        assert warming.ack(*told) == []
        assert warming.session.state.deadline is None

    def test_the_answer_is_an_acknowledgement(self, warming):
        clusters, endpoints = warming.after(5)
        warming.ack(endpoints)
        assert [each.type for each in warming.ack(clusters)] == ["lds"]
        assert warming.facts[-1] == Acked(CDS, clusters.nonce)

    @pytest.mark.parametrize("nonce", ["", "of-another-stream"], ids=["none", "unknown"])
    def test_a_request_that_crossed_is_answered(self, warming, nonce):
        _, endpoints = warming.after(5)
        warming.ack(endpoints)
        told = warming.ask("cds", nonce=nonce)
        assert said(told) == [("cds", ("a", "b"), ()), ("eds", ("a", "b"), ())]


class TestRejections:
    """B9a, B19."""

    def test_are_recorded_and_not_answered(self, stream):
        (told,) = stream.ask("lds")
        stream.facts.clear()
        assert stream.nack(told, "no such filter") == []
        assert stream.facts == [Rejected(LDS, told.nonce, "no such filter", ("l",))]
        assert stream.session.state.watches[LDS].state is SyncState.ERROR
        assert stream.push() == []

    def test_end_with_the_next_version(self, stream):
        stream.nack(*stream.ask("lds"))
        stream.mesh.put(listener("l", "r", "better"))
        (told,) = stream.push()
        stream.ack(told)
        assert stream.session.state.watches[LDS].state is SyncState.SYNCED

    def test_repeated_with_other_names_ask_for_these(self, stream):
        """B9e: after a rejection a change of names repeats its nonce with the old version."""
        (told,) = stream.ask("eds", "a")
        stream.nack(told)
        answer = stream.ask("eds", "a", "b", nonce=told.nonce, version="")
        assert said(answer) == [("eds", ("b",), ())]

    def test_with_more_names_ask_for_these(self, stream):
        (told,) = stream.ask("eds", "a")
        answer = stream.ask("eds", "a", "b", nonce=told.nonce, error="bad")
        assert said(answer) == [("eds", ("b",), ())]

    def test_keep_the_last_good_one_among_the_others(self, stream):
        """A full set holds every name: the rejected cluster is there as it was accepted last."""
        started(stream)
        stream.mesh.put(eds_cluster("a", "bad"))
        clusters, endpoints = stream.push()
        stream.ack(endpoints)
        assert stream.nack(clusters, "Error adding/updating cluster(s) a: no") == []
        stream.mesh.put(static_cluster("s"))
        (told,) = stream.push()
        assert told.names == ("b", "s", "a")
        old = eds_cluster("a")
        assert old.body in [each.value for each in told.message.resources]
        stream.ack(told)
        assert stream.session.state.watches[CDS].state is SyncState.ERROR
        stream.mesh.put(eds_cluster("a", "good"))
        (told, _) = stream.push()
        assert said(stream.ack(told)) == []
        assert stream.session.state.watches[CDS].state is SyncState.SYNCED

    def test_leave_out_what_was_never_accepted(self, stream):
        (told,) = stream.ask("cds")
        assert stream.nack(told, "Error adding/updating cluster(s) a: no") == []
        stream.mesh.put(static_cluster("s"))
        assert said(stream.push()) == [("cds", ("b", "s"), ())]

    def test_find_the_offender_among_many(self):
        mesh = FakeMesh()
        names = tuple("abcdefgh")
        mesh.put(*(static_cluster(name) for name in names))
        stream = Stream(mesh, delta=False)
        seen, told = [], stream.ask("cds")
        while told:
            (each,) = told
            seen.append(each.names)
            told = stream.nack(each) if "f" in each.names else stream.ack(each)
        assert seen[0] == names
        assert len(set(seen)) == len(seen)
        assert set(seen[-1]) == set(names) - {"f"} or "f" in seen[-1]
        accepted = stream.session.state.watches[CDS].accepted
        assert set(accepted) == set(names) - {"f"}

    def test_with_an_older_nonce_leave_the_newer_open(self, stream):
        started(stream)
        stream.mesh.put(static_cluster("s"))
        (first,) = stream.push()
        stream.mesh.put(static_cluster("s", "better"))
        (second,) = stream.push()
        assert stream.nack(first) == []
        assert stream.ack(second) == []
        assert stream.session.state.watches[CDS].state is SyncState.SYNCED

    def test_of_a_watch_that_does_not_exist_begin_it(self, stream):
        assert said(stream.ask("lds", error="of another stream")) == [("lds", ("l",), ())]


def test_clusters_do_not_wait_for_acknowledgements(stream):
    """B4."""
    started(stream)
    stream.mesh.put(static_cluster("s"))
    first = stream.push()
    stream.mesh.put(static_cluster("t"))
    second = stream.push()
    assert [each.type for each in first + second] == ["cds", "cds"]
    assert stream.ack(*first, *second) == []
    assert stream.session.state.watches[CDS].state is SyncState.SYNCED


def test_others_wait_and_merge(stream):
    started(stream)
    stream.mesh.put(routes("r", "b"))
    (first,) = stream.push()
    stream.mesh.put(routes("r", "c"))
    assert stream.push() == []
    assert said(stream.ack(first)) == [("rds", ("r",), ())]


class TestProxyless:
    """B29: gRPC names everything, and wants all of it in every response."""

    @pytest.fixture
    def client(self, mesh):
        return Stream(mesh, proxy(GENERATOR="grpc"), delta=False)

    def test_named_clusters(self, client):
        assert said(client.ask("cds", "a", "unknown")) == [("cds", ("a",), ())]
        client.mesh.put(eds_cluster("b", "x"))
        assert client.push() == []

    def test_unknown_names_are_left_out(self, client):
        assert said(client.ask("rds", "x")) == [("rds", (), ())]

    def test_more_names_are_answered_with_all(self, client):
        (told,) = client.ask("eds", "a")
        assert said(client.ack(told, names={"eds": ("a", "b")})) == [("eds", ("a", "b"), ())]

    def test_a_change_is_sent_with_the_others(self, client):
        client.ack(*client.ask("eds", "a", "b"))
        client.mesh.put(assignment("b", [8]))
        assert said(client.push()) == [("eds", ("a", "b"), ())]

    def test_a_removal_is_told_by_absence_at_once(self, client):
        client.ack(*client.ask("cds", "a", "b"))
        client.mesh.remove(CDS, "a")
        assert said(client.push()) == [("cds", ("b",), ())]

    def test_no_names_left_are_no_wildcard(self, client):
        (told,) = client.ask("lds", "l")
        assert client.ask("lds", nonce=told.nonce, version=told.message.version_info) == []
        assert not client.session.state.watches[LDS].wildcard


@pytest.mark.parametrize("names", [(), ("*",)], ids=["no-names", "star"])
def test_a_wildcard(stream, names):
    assert said(stream.ask("cds", *names)) == [("cds", ("a", "b"), ())]
    assert stream.session.state.watches[CDS].wildcard


def test_withheld_types_do_not_exist(mesh):
    mesh.put(secret("cert"))
    assert Stream(mesh, delta=False, withheld=frozenset({SDS})).ask("sds", "cert") == []
    assert said(Stream(mesh, delta=False).ask("sds", "cert")) == [("sds", ("cert",), ())]


def test_a_forced_push_sends_everything_again(stream):
    started(stream)
    told = stream.push(resend=True)
    assert [each.type for each in told] == ["cds", "eds", "lds", "rds"]
    assert stream.ack(*told) == []


def test_proxies_of_a_view_are_sent_the_same_bytes(mesh):
    first = started(Stream(mesh, delta=False))
    second = started(replace(first))
    mesh.put(eds_cluster("a", "x"), listener("l", "r", "x"))
    told = list(zip(first.push(number=99), second.push(number=99), strict=True))
    assert len(told) == 3
    for one, other in told:
        assert one.send.payload is other.send.payload


def test_a_nonce_is_never_used_twice(stream):
    told = stream.ask("rds", "r")
    for cluster in ("b", "a", "b", "a"):
        stream.mesh.put(routes("r", cluster))
        told += stream.ack(told[-1])
        told += stream.push()
        told += stream.ask("rds", "r")
    nonces = [each.nonce for each in told]
    assert len(nonces) == 9
    assert len(set(nonces)) == len(nonces)
