"""Verdicts depend on what they reference and on nothing else (L13); reports group well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mast.mixer.core.engine import CheckFailed, CheckVerdict, QuotaAsk
from mast.mixer.core.values import Duration, Value
from tests.support.mixer_config import TELEMETRY, Rig
from tests.unit.mixer.test_check import action, handler, listentry, rig, rule

MATCHES = [
    'a == "x"',
    '(a | "x") == "x" && m["k"] == "v"',
    'a == "x" || b == "x"',
    '(m["k"] | n["k"] | c | "none") == "v"',
    'conditional((b | "y") == "y", (c | "") == "x", m["l"] == "")',
    "a == b",
    'made == "pod" || a == "x"',
    'm[b] == "v"',
    '(b | "").startsWith("x")',
]
MANIFEST = "{kind: attributemanifest, metadata: {name: n}, spec: {attributes: {n: {valueType: STRING_MAP}}}}\n---\n"  # noqa: E501

texts = st.sampled_from(["x", "y", ""])
maps = st.dictionaries(st.sampled_from(["k", "l", "x"]), st.sampled_from(["v", "w", ""]))
NAMESPACES = st.sampled_from(["shop", "web"])
requests = st.fixed_dictionaries(
    {},
    optional={
        "a": texts,
        "b": texts,
        "c": texts,
        "m": maps,
        "n": maps,
        "context.reporter.kind": st.sampled_from(["inbound", "outbound", "other"]),
        "destination.namespace": NAMESPACES,
        "source.namespace": NAMESPACES,
        "unknown": texts,
    },
)


@st.composite
def rigs(draw: st.DrawFn) -> Rig:
    """Some rules in some namespaces: listentries, denials, header operations, generation, quota."""
    generated = """
kind: instance
metadata: {name: gen}
spec:
  compiledTemplate: kubernetes
  params: {source_uid: 'c | ""'}
  attributeBindings: {made: '$out.source_pod_name | "nobody"'}
---
"""
    objects = [
        MANIFEST,
        generated,
        listentry("list", 'a | m["l"] | "none"'),
        listentry("whole", "m | emptyStringMap()"),
        "{kind: instance, metadata: {name: q}, spec: {compiledTemplate: quota,"
        ' params: {dimensions: {d: \'b | n["x"] | "none"\'}}}}\n---\n',
        handler("g", "{generated: {source_pod_name: pod}}"),
        handler("deny", "{code: 7, message: x, seconds: 5, uses: 3}"),
        handler("fine", "{seconds: 9, uses: 9}"),
        handler("look", "{seconds: 9, uses: 9, look: true}"),
        "{kind: handler, metadata: {name: lists}, spec: {compiledAdapter: listchecker,"
        " params: {overrides: [x]}}}\n---\n",
        handler("quotas", "{granted: 1, seconds: 1}"),
        rule("gen", action("g", "gen"), draw(st.sampled_from(["", 'b == "x"']))),
    ]
    operations = ', requestHeaderOperations: [{name: h, values: [\'c | m["k"] | ""\']}]'
    actions = st.sampled_from(
        [
            action("deny.istio-system"),
            action("fine.istio-system"),
            action("lists.istio-system", "list.istio-system"),
            action("look.istio-system", "whole.istio-system"),
            action("quotas.istio-system", "q.istio-system"),
        ]
    )
    objects += [
        rule(
            f"r{number}",
            draw(actions),
            draw(st.sampled_from(["", *MATCHES])),
            draw(st.sampled_from(["", operations])),
            draw(st.sampled_from(["istio-system", "shop", "web"])),
        )
        for number in range(draw(st.integers(0, 4)))
    ]
    return rig(*objects)


def verdict(built: Rig, request: Mapping[str, Value]) -> CheckVerdict | str:
    try:
        return built.check(request, {"q": QuotaAsk(1)})
    except CheckFailed as error:
        return str(error)


@settings(max_examples=200, deadline=None)
@given(rigs(), requests, requests)
def test_replay_with_anything_unreferenced_changed(
    built: Rig, request: dict[str, Value], other: dict[str, Value]
) -> None:
    """L13, A7 to A12: what was not referenced may be anything, other keys of maps as well."""
    first = verdict(built, request)
    if isinstance(first, str) or not first.valid_use_count:
        return
    referenced = [*first.referenced, *(r for g in first.quotas.values() for r in g.referenced)]
    whole = {each.name for each in referenced if each.map_key is None}
    keys = {(each.name, each.map_key) for each in referenced if each.map_key is not None}
    names = whole | {name for name, _ in keys}
    changed = {name: value for name, value in request.items() if name in whole}
    changed |= {name: value for name, value in other.items() if name not in names}
    for name in {name for name, _ in keys}:
        before, after = request[name], other.get(name, {})
        assert isinstance(before, dict)
        assert isinstance(after, dict)
        kept = {key: each for key, each in before.items() if (name, key) in keys}
        added = {key: each for key, each in after.items() if (name, key) not in keys}
        changed[name] = {**kept, **added}
    assert answer(verdict(built, changed)) == answer(first)


def answer(found: CheckVerdict | str) -> CheckVerdict | str:
    """A verdict without what it depends on.

    Of ``m[b]`` without ``b`` nothing of a map that is there is recorded (A7), but its absence is:
    the answer is the same all the same.
    """
    if isinstance(found, str):
        return found
    quotas = {name: replace(grant, referenced=()) for name, grant in found.quotas.items()}
    return replace(found, referenced=(), quotas=quotas)


labels = st.sampled_from(["reviews", "ratings"])
records = st.fixed_dictionaries(
    {"context.protocol": st.sampled_from(["http", "grpc", "tcp"])},
    optional={
        "destination.service.name": labels,
        "destination.service.host": labels,
        "request.host": labels,
        "source.labels": st.dictionaries(st.sampled_from(["app", "version", "x"]), labels),
        "response.code": st.sampled_from([200, 404, True]),
        "connection.mtls": st.sampled_from([True, False, 1]),
        "request.size": st.integers(0, 100),
        "response.duration": st.builds(Duration, st.integers(0, 10**10)),
        "connection.event": st.sampled_from(["open", "close"]),
        "connection.sent.bytes": st.integers(0, 100),
        "request.useragent": st.sampled_from(["curl", "kube-probe/1"]),
        "context.reporter.kind": st.sampled_from(["inbound", "outbound"]),
    },
)


@settings(max_examples=50, deadline=None)
@given(st.lists(records, max_size=30))
def test_a_batch_gives_the_series_of_its_records_one_by_one(batch: list[dict[str, Value]]) -> None:
    """B2, B3, A22."""
    together, apart = Rig(TELEMETRY), Rig(TELEMETRY)
    errors = set(together.report(*batch))
    assert errors == {error for record in batch for error in apart.report(record)}
    assert _rounded(together) == _rounded(apart)


def _rounded(built: Rig) -> list[str]:
    """Samples; sums of floats may differ in the last digit with the order of addition."""
    lines = []
    for line in built.registry.render().splitlines():
        name, _, value = line.rpartition(" ")
        lines.append(f"{name} {float(value):.6f}" if not line.startswith("#") else line)
    return lines
