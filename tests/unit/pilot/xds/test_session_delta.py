"""The incremental protocol, rule by rule (pilot.md B11 to B19)."""

from dataclasses import replace

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig

from mast.pilot.core.xds.outputs import Acked, Stale
from mast.pilot.core.xds.resources import CDS, ECDS, EDS, LDS, RDS, SDS, resource
from mast.pilot.core.xds.watch import MOST_OUTSTANDING, SyncState
from tests.fakes.pilot_views import (
    FakeMesh,
    assignment,
    eds_cluster,
    listener,
    routes,
    secret,
    static_cluster,
)
from tests.fakes.xds_streams import Stream, said, started, versions


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
