"""How the offender of a rejected response is found (pilot.md B2, B19)."""

import pytest

from mast.pilot.core.xds.experience import Refusal
from mast.pilot.core.xds.resources import CDS
from mast.pilot.core.xds.selection import whole
from mast.pilot.core.xds.trial import PATIENCE, Trial, blamed
from tests.fakes.pilot_views import listener, routes, static_cluster


def of(*resources):
    return whole({each.name: each for each in resources})


ROUTES = tuple(routes(name, name) for name in "abcd")
CLUSTERS = tuple(static_cluster(name) for name in "abcd")


def names(resources):
    return "".join(each.name for each in resources)


@pytest.mark.parametrize(
    ("reason", "found"),
    [
        ("Error adding/updating cluster(s) b: no good", "b"),
        ("Error adding/updating cluster(s) a: no good, c: no", "ac"),
        ("Error adding/updating cluster(s) xa: no good", ""),
        ("Proto constraint validation failed (field: a: too long)", ""),
    ],
    ids=["one", "two", "longer-name", "whole-response"],
)
def test_envoy_names_bad_clusters(reason, found):
    assert names(blamed(CLUSTERS, reason)) == found


def test_nothing_is_known_at_first():
    trial = Trial()
    assert trial.neutral
    assert trial.permitted(ROUTES, of(*ROUTES)) is ROUTES
    assert not trial.running


def test_a_single_suspect_is_the_offender():
    trial = Trial()
    assert trial.rejected(ROUTES[:1], "v", "bad") == ROUTES[:1]
    assert trial.permitted(ROUTES, of(*ROUTES)) == ROUTES[1:]
    assert not trial.running


def test_of_clusters_that_are_named_the_others_were_applied():
    trial = Trial()
    reason = "Error adding/updating cluster(s) b: no"
    assert trial.rejected(CLUSTERS, "v", reason) == CLUSTERS[1:2]
    assert trial.refused == {"b": Refusal(CLUSTERS[1].version, reason)}
    assert trial.refuses(CLUSTERS[1])
    assert not trial.refuses(CLUSTERS[0])


def test_of_routes_all_may_be_lost():
    trial = Trial()
    assert trial.rejected(ROUTES, "v", "bad") == ROUTES
    assert trial.running


def test_suspects_are_halved_until_one_is_left():
    trial, wanted = Trial(), of(*ROUTES)
    trial.rejected(ROUTES, "all", "bad")
    assert names(trial.permitted(ROUTES, wanted)) == "ab"
    trial.rejected(ROUTES[:2], "ab", "bad")
    assert names(trial.permitted(ROUTES, wanted)) == "a"
    trial.accepted()
    assert names(trial.permitted(ROUTES[1:], wanted)) == "b"
    trial.rejected(ROUTES[1:2], "b", "bad")
    assert trial.refused.keys() == {"b"}
    assert names(trial.permitted(ROUTES[1:], wanted)) == "c"
    trial.accepted()
    assert names(trial.permitted((ROUTES[1], ROUTES[3]), wanted)) == "d"
    trial.accepted()
    assert trial.permitted(ROUTES[1:2], wanted) == ()
    assert not trial.running


def test_a_rejection_that_a_known_offender_explains_blames_nobody_else():
    trial = Trial()
    trial.rejected(ROUTES[:1], "a", "bad")
    assert trial.rejected(ROUTES, "all", "bad") == ROUTES
    assert trial.refused.keys() == {"a"}
    assert not trial.running


def test_an_offender_is_forgiven_with_another_version():
    trial = Trial()
    trial.rejected(ROUTES[:1], "a", "bad")
    better = routes("a", "better")
    changed = (better, *ROUTES[1:])
    assert trial.permitted(changed, of(*changed)) is changed
    assert trial.refused == {}


def test_an_offender_that_is_gone_is_forgotten():
    trial = Trial()
    trial.rejected(ROUTES[:1], "a", "bad")
    assert trial.permitted(ROUTES[1:], of(*ROUTES[1:])) == ROUTES[1:]
    assert trial.refused == {}


def test_a_client_that_rejects_everything_is_left_alone_until_something_changes():
    trial, wanted = Trial(), of(*ROUTES)
    for _ in range(PATIENCE):
        trial.rejected(ROUTES, "all", "bad")
        trial.permitted(ROUTES, wanted)
    assert trial.permitted(ROUTES, wanted) == ()
    more = (*ROUTES, routes("e", "e"))
    assert trial.permitted(more, of(*more)) != ()


def test_what_was_rejected_is_remembered_until_something_changes():
    trial, wanted = Trial(), of(*ROUTES)
    trial.rejected(ROUTES, "v", "bad")
    trial.permitted(ROUTES, wanted)
    assert trial.known_bad("v")
    assert not trial.known_bad("w")
    trial.permitted(ROUTES, of(*ROUTES))
    assert not trial.known_bad("v")


def test_a_rejected_removal_blames_nobody():
    trial = Trial()
    assert trial.rejected((), "v", "bad") == ()
    assert trial.known_bad("v")
    trial.accepted()
    assert trial.neutral


def test_names_of_listeners_are_told_apart():
    """One name may be the beginning of another."""
    found = (listener("0.0.0.0_80"), listener("0.0.0.0_8080"))
    reason = "Error adding/updating listener(s) 0.0.0.0_8080: no"
    assert [each.name for each in blamed(found, reason)] == ["0.0.0.0_8080"]
    assert static_cluster("x").type_url == CDS
