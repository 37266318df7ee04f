"""Quotas inside a check (mixer.md A12, A31 to A35, F1; checklist 17, 19, 23)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mast.mixer.core.engine import QuotaAsk, QuotaGrant
from mast.mixer.core.values import Attributes
from tests.fakes.mixer_adapter import Script
from tests.unit.mixer.test_check import action, handler, listentry, rig, rule

MINUTE = timedelta(minutes=1)
INSTANCE = """
kind: instance
metadata: {name: RequestCount}
spec: {compiledTemplate: quota, params: {dimensions: {user: 'b | "nobody"'}}}
---
"""


def shown(grant: QuotaGrant) -> list[str]:
    return [each.name for each in grant.referenced]


def test_a_quota_is_asked_of_the_instance_of_its_name_in_any_case() -> None:
    """A32, F1: short name, arguments, id."""
    built = rig(
        INSTANCE,
        handler("h", "{granted: 3, seconds: 7}"),
        rule("r", action("h", "RequestCount")),
    )
    verdict = built.check({"b": "ann"}, {"requestcount": QuotaAsk(5, best_effort=True)}, "id-")
    grant = verdict.quotas["requestcount"]
    assert (grant.amount, grant.valid_duration) == (3, timedelta(seconds=7))
    script: Script = built.handlers["h.handler.istio-system"]
    ((instance, arguments),) = script.asked
    assert instance.name == "RequestCount.instance.istio-system"
    assert instance.fields["dimensions"] == {"user": "ann"}
    assert (arguments.amount, arguments.best_effort) == (5, True)
    assert arguments.deduplication_id == "id-requestcount"
    built.check({}, {"requestcount": QuotaAsk(1, stock=4)})
    assert script.asked[-1][1].stock == 4


def test_a_quota_that_is_not_configured_is_granted_in_full_for_a_minute() -> None:
    """A33, L19: with a warning."""
    built = rig()
    verdict = built.check({}, {"q": QuotaAsk(2, stock=3)})
    assert verdict.quotas["q"].amount == 5
    assert verdict.quotas["q"].valid_duration == MINUTE
    assert built.notes.warnings == ["Requested quota 'q' is not configured"]


def test_a_quota_whose_rule_does_not_apply_is_granted_in_full_for_a_minute() -> None:
    """A33, L19."""
    built = rig(INSTANCE, handler("h"), rule("r", action("h", "RequestCount"), match='a == "x"'))
    verdict = built.check({"a": "y"}, {"RequestCount": QuotaAsk(2, stock=3)})
    assert verdict.quotas["RequestCount"].amount == 5
    assert verdict.quotas["RequestCount"].valid_duration == MINUTE
    assert built.notes.warnings == []


@pytest.mark.parametrize(
    ("handlers", "amount", "seconds", "warnings"),
    [
        pytest.param(["{granted: 2, seconds: 3}", "{granted: 9, seconds: 9}"], 2, 3,
                     ["quota 'RequestCount' is granted 2 times; the first counts"], id="first"),
        pytest.param(["{}", "{granted: 9, seconds: 9}"], 9, 9, [], id="default-is-passed-over"),
        pytest.param(["{}"], 0, 0, [], id="all-default"),
        pytest.param(["{error: gone}"], 0, 0, ["quota 'RequestCount': gone"], id="error"),
        pytest.param(["{panic: oops}", "{granted: 9}"], 9, 0,
                     ["quota 'RequestCount': panic during handler dispatch: oops"], id="panic"),
    ],
)  # fmt: skip
def test_several_handlers(
    handlers: list[str], amount: int, seconds: int, warnings: list[str]
) -> None:
    """A34: the first that says something; errors grant nothing and stop none."""
    names = [f"h{index}" for index in range(len(handlers))]
    built = rig(
        INSTANCE,
        *(handler(name, params) for name, params in zip(names, handlers, strict=True)),
        rule("r", ", ".join(action(name, "RequestCount") for name in names)),
    )
    verdict = built.check({}, {"RequestCount": QuotaAsk(1), "other": QuotaAsk(4)})
    grant = verdict.quotas["RequestCount"]
    assert (grant.amount, grant.valid_duration) == (amount, timedelta(seconds=seconds))
    assert built.notes.warnings == [*warnings, "Requested quota 'other' is not configured"]
    assert verdict.quotas["other"].amount == 4


@pytest.mark.parametrize(
    ("amounts", "granted"),
    [
        pytest.param([0], [0], id="nothing"),
        pytest.param([5, 1], [5, 0], id="exhausted"),
        pytest.param([5, -3, 3, 1], [5, 0, 3, 0], id="released"),
    ],
)
def test_amounts_have_no_default_and_may_be_given_back(
    amounts: list[int], granted: list[int]
) -> None:
    """A32, A35, L17: 0 is nothing, a negative amount releases; without an id none is repeated."""
    built = rig(
        INSTANCE,
        "{kind: handler, metadata: {name: q}, spec: {compiledAdapter: memquota, params: {quotas:"
        " [{name: RequestCount.instance.istio-system, max_amount: 5}]}}}\n---\n",
        rule("r", action("q", "RequestCount")),
    )
    found = []
    for amount in amounts:
        verdict = built.check({}, {"requestcount": QuotaAsk(amount)})
        found.append(verdict.quotas["requestcount"].amount)
    assert found == granted


def test_an_instance_without_value_grants_nothing() -> None:
    """A34: the call stays OK."""
    built = rig(
        "{kind: instance, metadata: {name: q}, spec: {compiledTemplate: quota,"
        " params: {dimensions: {user: b}}}}\n---\n",
        handler("h", "{granted: 3}"),
        rule("r", action("h", "q")),
    )
    verdict = built.check({}, {"q": QuotaAsk(1)})
    assert verdict.status.code == 0
    assert verdict.quotas["q"].amount == 0
    assert "lookup failed: 'b'" in built.notes.warnings[0]


def test_quotas_are_not_asked_when_the_answer_is_no() -> None:
    """A31, L23."""
    built = rig(
        INSTANCE,
        handler("h", "{granted: 3}"),
        handler("deny", "{code: 7}"),
        rule("r", action("h", "RequestCount")),
        rule("s", action("deny")),
    )
    verdict = built.check({}, {"RequestCount": QuotaAsk(1)})
    assert verdict.quotas == {}
    assert built.handlers["h.handler.istio-system"].asked == []


def test_a_quota_depends_on_preprocessing_and_its_own_reads() -> None:
    """A12: not on what the check read."""
    generated = """
kind: instance
metadata: {name: gen}
spec: {compiledTemplate: kubernetes, params: {source_uid: 'c | ""'}}
---
"""
    built = rig(
        INSTANCE,
        generated,
        handler("h", "{granted: 1}"),
        handler("g"),
        rule("gen", action("g", "gen")),
        rule("check", action("h"), match='a == "x"'),
        rule("quota", action("h", "RequestCount")),
    )
    request: Attributes = {"a": "x", "b": "y"}
    verdict = built.check(request, {"RequestCount": QuotaAsk(1), "none": QuotaAsk(1)})
    common = ["context.reporter.kind", "destination.namespace", "c"]
    assert [each.name for each in verdict.referenced] == [*common, "a"]
    assert shown(verdict.quotas["RequestCount"]) == [*common, "b"]
    assert shown(verdict.quotas["none"]) == common


def test_a_grant_by_a_whole_map_is_for_its_request_alone() -> None:
    """A10, A12: another key would not be noticed; what the check read as a whole does not count."""
    whole = """
kind: instance
metadata: {name: labels}
spec: {compiledTemplate: quota, params: {dimensions: {all: 'm | emptyStringMap()'}}}
---
"""
    built = rig(
        INSTANCE,
        whole,
        "{kind: handler, metadata: {name: q}, spec: {compiledAdapter: memquota, params: {quotas:"
        " [{name: RequestCount.instance.istio-system, max_amount: 5, valid_duration: 7s},"
        " {name: labels.instance.istio-system, max_amount: 5, valid_duration: 7s}]}}}\n---\n",
        handler("h", "{seconds: 5, uses: 9, look: true}"),
        listentry("i", "m | emptyStringMap()"),
        rule("check", action("h", "i")),
        rule("quota", action("q", "RequestCount, labels")),
    )
    asked = {"labels": QuotaAsk(1), "RequestCount": QuotaAsk(1)}
    verdict = built.check({"m": {"k": "v"}}, asked)
    found = {name: (each.amount, each.valid_duration) for name, each in verdict.quotas.items()}
    assert found == {"labels": (1, timedelta()), "RequestCount": (1, timedelta(seconds=7))}
    assert verdict.valid_use_count == 0


def test_quotas_of_the_requests_namespace() -> None:
    """A17, A32."""
    built = rig(
        handler("h", "{granted: 2}", "shop"),
        "{kind: instance, metadata: {name: q, namespace: shop},"
        " spec: {compiledTemplate: quota}}\n---\n",
        rule("r", action("h", "q"), namespace="shop"),
    )
    inside = built.check({"destination.namespace": "shop"}, {"q": QuotaAsk(1)})
    assert inside.quotas["q"].amount == 2
    assert built.check({}, {"q": QuotaAsk(1)}).quotas["q"].valid_duration == MINUTE
