"""Running analyzers: what changed, what fails, what is told once, and in which order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast.galley.core.analysis.analysis import Analyzer, Results, Superseded, analyse
from mast.galley.core.analysis.analyzers import ANALYZERS, VERBOSE
from mast.galley.core.analysis.reading import read
from mast.galley.core.analysis.snapshot import Fact, Item, Message, Snapshot, View
from mast.galley.core.problem import Position
from mastapi.galley.v1 import config_pb2
from tests.support import analysis_policies, analysis_routes, analysis_traffic

POD, SERVICE = "Pod", "Service"


class Counting:
    """An analyzer that tells of every pod, and how often it did."""

    def __init__(self, *inputs: str) -> None:
        self.runs = 0
        self.analyzer = Analyzer("counting", "", frozenset(), frozenset(inputs), self._run)

    def _run(self, view: View) -> Iterator[Message]:
        self.runs += 1
        for item in view.of(POD):
            yield Message("IST0103", item, "no proxy")


def pod(name: str, **more: object) -> Item:
    return Item(POD, "shop", name, **more)  # type: ignore[arg-type]


def test_only_changed_inputs_are_analyzed_again() -> None:
    counting = Counting(POD)
    first = analyse([counting.analyzer], Snapshot([pod("a")]))
    same = analyse(
        [counting.analyzer], first.snapshot.replaced(SERVICE, [Item(SERVICE, "shop", "b")]), first
    )
    assert (counting.runs, same.messages) == (1, first.messages)
    changed = analyse([counting.analyzer], same.snapshot.replaced(POD, [pod("b")]), same)
    assert counting.runs == 2
    assert [m.origin for m in changed.messages] == ["Pod shop/b"]


def test_an_analysis_that_nobody_wants_ends_between_analyzers() -> None:
    counting = Counting(POD)
    with pytest.raises(Superseded):
        analyse([counting.analyzer] * 3, Snapshot(), superseded=lambda: counting.runs == 2)
    assert counting.runs == 2


def test_another_domain_is_a_change() -> None:
    counting = Counting(POD)
    first = analyse([counting.analyzer], Snapshot([pod("a")]))
    analyse([counting.analyzer], Snapshot([pod("a")], "other.example"), first)
    assert counting.runs == 2


def _broken(view: View) -> Iterator[Message]:
    for item in view.of(POD):
        yield Message("IST0103", item, "told before")
    raise KeyError("lost")


def test_an_analyzer_that_fails_silences_nobody() -> None:
    broken = Analyzer("broken", "", frozenset(), frozenset({POD}), _broken)
    results = analyse([broken, Counting(POD).analyzer], Snapshot([pod("a")]))
    assert [(m.code, m.text) for m in results.messages] == [
        ("IST0001", "analyzer broken failed: KeyError: 'lost'"),
        ("IST0103", "no proxy"),
        ("IST0103", "told before"),
    ]


def test_what_is_not_declared_cannot_be_seen() -> None:
    (message,) = analyse([Counting(SERVICE).analyzer], Snapshot([pod("a")])).messages
    assert message.code == "IST0001"
    assert "'Pod' is not among the inputs" in message.text


def test_a_fact_needs_its_inputs() -> None:
    fact = Fact(frozenset({POD}), lambda view: len(view.of(POD)))

    def run(view: View) -> Iterator[Message]:
        yield Message("IST0103", None, str(view.fact(fact)))

    def texts(*inputs: str) -> list[str]:
        analyzer = Analyzer("counted", "", frozenset(), frozenset(inputs), run)
        return [m.text for m in analyse([analyzer], Snapshot([pod("a")])).messages]

    assert texts(POD) == ["1"]
    assert texts(SERVICE) == ["analyzer counted failed: Undeclared: a fact needs Pod"]


def test_the_worst_first_and_each_once() -> None:
    items = [pod("a", source="x.yaml", position=Position(3, 1)), pod("b")]

    def run(view: View) -> Iterator[Message]:
        for code in ("IST0102", "IST0103", "IST0101", "IST0101"):
            for item in view.of(POD):
                yield Message(code, item, "text")

    found = analyse([Analyzer("a", "", frozenset(), frozenset({POD}), run)], Snapshot(items))
    assert [(m.code, m.origin, m.reference) for m in found.messages] == [
        ("IST0101", "Pod shop/a", "x.yaml:3"),
        ("IST0101", "Pod shop/b", ""),
        ("IST0103", "Pod shop/a", "x.yaml:3"),
        ("IST0103", "Pod shop/b", ""),
        ("IST0102", "Pod shop/a", "x.yaml:3"),
        ("IST0102", "Pod shop/b", ""),
    ]


CASES = (*analysis_routes.CASES, *analysis_traffic.CASES, *analysis_policies.CASES)
TEXTS = [text for case in CASES for text in (case.bad, case.good)]


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(TEXTS), min_size=2, max_size=4))
def test_incremental_is_the_same_as_from_scratch(texts: list[str]) -> None:
    results: Results | None = None
    for text in texts:
        items = read([config_pb2.Source(name="a.yaml", text=text)], "default").items
        results = analyse(ANALYZERS, Snapshot(items), results)
        assert results.messages == analyse(ANALYZERS, Snapshot(items)).messages


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False))
def test_the_order_of_objects_does_not_matter(text: str, random: Random) -> None:
    items = list(read([config_pb2.Source(name="a.yaml", text=text)], "default").items)
    before = {(m.code, m.origin) for m in analyse(ANALYZERS, Snapshot(items)).messages}
    random.shuffle(items)
    after = {(m.code, m.origin) for m in analyse(ANALYZERS, Snapshot(items)).messages}
    assert after == before


KINDS = (
    "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: %s, status: %s}",
    "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: %s, status: %s}",
    "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: %s}, "
    "status: %s}",
    "{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, "
    "metadata: {name: istio-sidecar-injector}, webhooks: %s, status: %s}",
)
WORDS = """
spec selector ports name port targetPort containers image securityContext runAsUser metadata labels
annotations sidecar.istio.io/inject clientConfig url service namespaceSelector matchLabels
matchExpressions key operator values conditions type
"""
KEYS = st.sampled_from(WORDS.split())
VALUES = st.recursive(
    st.sampled_from([None, True, 0, 1337, -1, 1.5, "", "auto", "istio-proxy", "https://[a", "In"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), VALUES, VALUES)
def test_no_document_makes_an_analyzer_fail(shape: str, one: object, other: object) -> None:
    """Kubernetes' own objects are not judged before they are looked at."""
    text = shape % (json.dumps(one), json.dumps(other))
    content = read([config_pb2.Source(name="a.yaml", text=text)], "default")
    messages = analyse((*ANALYZERS, *VERBOSE), Snapshot(content.items)).messages
    assert not [m.text for m in messages if m.code == "IST0001"]
