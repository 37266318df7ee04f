"""Reports (mixer.md A13, A20 to A22, B2 to B4; checklist 4, 9)."""

from __future__ import annotations

from collections import Counter

import pytest

from mast.mixer.core import report as report_module
from mast.mixer.core.records import Kind, Record
from mast.mixer.core.report import Reporter
from mast.mixer.core.values import Attributes, Duration
from tests.fakes.mixer_adapter import Script
from tests.support.mixer_config import Rig, run
from tests.unit.mixer.test_check import action, handler, rig, rule

SHARED = """
kind: attributemanifest
metadata: {name: more}
spec:
  attributes:
    n: {valueType: INT64}
    d: {valueType: DURATION}
    t: {valueType: TIMESTAMP}
---
"""

OF_REQUESTS = """
kind: attributemanifest
metadata: {name: requests}
spec:
  attributes:
    request.path: {valueType: STRING}
    request.id: {valueType: STRING}
    request.headers: {valueType: STRING_MAP}
---
"""


def metric(name: str, value: str, dimensions: str = "{}") -> str:
    return f"""
kind: instance
metadata: {{name: {name}}}
spec: {{compiledTemplate: metric, params: {{value: '{value}', dimensions: {dimensions}}}}}
---
"""


def logentry(name: str, variables: str) -> str:
    return f"""
kind: instance
metadata: {{name: {name}}}
spec: {{compiledTemplate: logentry, params: {{variables: {variables}}}}}
---
"""


def script(built: Rig, name: str = "h") -> Script:
    found: Script = built.handlers[f"{name}.handler.istio-system"]
    return found


def taken(built: Rig, name: str = "h") -> Counter[tuple[str, str, object]]:
    """What a handler was given: instance, dimensions or variables, value; however batched."""
    found: Counter[tuple[str, str, object]] = Counter()
    for batches in script(built, name).reported:
        for batch in batches:
            for each in batch.instances():
                body = each.fields.get("dimensions", each.fields.get("variables", {}))
                shown = ",".join(f"{k}={v}" for k, v in sorted(body.items()))
                found[each.name.partition(".")[0], shown, each.fields.get("value")] += 1
    return found


def test_records_reach_the_handler_in_one_call() -> None:
    built = rig(
        SHARED,
        metric("count", "1", "{who: a}"),
        metric("size", "n | 0", "{who: a}"),
        handler("h"),
        rule("r", action("h", "count, size")),
    )
    records: list[Attributes] = [{"a": "x", "n": 5}, {"a": "y"}, {"a": "x", "n": 7}]
    assert built.report(*records) == ()
    assert len(script(built).reported) == 1
    assert taken(built) == {
        ("count", "who=x", 1): 2,
        ("count", "who=y", 1): 1,
        ("size", "who=x", 5): 1,
        ("size", "who=x", 7): 1,
        ("size", "who=y", 0): 1,
    }


def test_records_that_agree_in_labels_are_one_batch() -> None:
    built = rig(
        SHARED,
        metric("size", "n | 0", "{who: a}"),
        handler("h"),
        rule("r", action("h", "size"), match='b != "no"'),
    )
    built.report(*({"a": "x", "b": "yes", "n": n, "c": str(n)} for n in range(100)))
    ((batch,),) = script(built).reported
    assert batch.values == list(range(100))
    assert batch.instance.fields == {
        "dimensions": {"who": "x"},
        "monitored_resource_type": "",
        "monitored_resource_dimensions": {},
    }


def test_the_same_instance_is_given_again_in_the_next_report() -> None:
    built = rig(SHARED, metric("m", "1", "{who: a}"), handler("h"), rule("r", action("h", "m")))
    built.report({"a": "x"})
    built.report({"a": "x"}, {"a": "y"})
    (first,), (second, other) = script(built).reported
    assert second.instance is first.instance
    assert other.instance is not first.instance


def test_records_of_one_kind_are_told_apart_by_what_they_may_differ_in():
    built = rig(
        SHARED,
        OF_REQUESTS,
        metric(
            "m",
            "n | 0",
            """{who: a, path: 'request.path | "-"', key: 'request.headers["k"] | "-"'}""",
        ),
        handler("h"),
        rule("r", action("h", "m"), match='(request.id | "") != "no"'),
    )
    kind = Kind({"a": "x", "n": 1})
    paths = [{"request.path": path, "request.headers": {"k": "v"}} for path in "pq"]
    ids = [{"request.path": "p", "request.id": id} for id in ("yes", "no")]
    for _ in range(2):  # The kind is unknown first.
        built.report(*(Record(kind, own) for own in (*paths, *ids)))
    assert taken(built) == {
        ("m", "key=v,path=p,who=x", 1): 2,
        ("m", "key=v,path=q,who=x", 1): 2,
        ("m", "key=-,path=p,who=x", 1): 2,
    }


def test_records_of_one_kind_are_what_they_are_alone():
    built = rig(SHARED, metric("m", "n | 0", "{who: a}"), handler("h"), rule("r", action("h", "m")))
    kinds = [Kind({"a": "x"}), Kind({"a": "x"}), Kind({"a": "y"})]
    built.report(*(Record(kind, {"request.size": 5}) for kind in kinds * 2))
    assert taken(built) == {("m", "who=x", 0): 4, ("m", "who=y", 0): 2}


def test_numbers_that_python_finds_equal_are_not_grouped() -> None:
    built = rig(SHARED, metric("m", "1", "{n: n}"), handler("h"), rule("r", action("h", "m")))
    errors = built.report({"n": 1}, {"n": True}, {"n": Duration(1)})
    assert taken(built) == {("m", "n=1", 1): 2}
    assert len(errors) == 1
    assert "error converting value to integer or duration: 'true'" in errors[0]


def test_log_entries_are_made_for_each_record() -> None:
    built = rig(
        SHARED, logentry("log", "{who: a, n: n}"), handler("h"), rule("r", action("h", "log"))
    )
    built.report(*({"a": "x", "n": n} for n in range(3)))
    assert taken(built) == {("log", f"n={n},who=x", None): 1 for n in range(3)}


def test_records_without_content_are_counted() -> None:
    built = rig(
        "{kind: instance, metadata: {name: i}, spec: {compiledTemplate: reportnothing}}\n---\n",
        handler("h"),
        rule("r", action("h", "i")),
    )
    built.report({"a": "x"}, {"a": "y"}, {})
    ((batch,),) = script(built).reported
    assert batch.count == 3
    assert len(list(batch.instances())) == 3


def test_a_metric_without_value_is_given_none() -> None:
    built = rig(
        "{kind: instance, metadata: {name: m}, spec: {compiledTemplate: metric}}\n---\n",
        handler("h"),
        rule("r", action("h", "m")),
    )
    built.report({}, {})
    ((batch,),) = script(built).reported
    assert batch.values == [None, None]


def test_each_record_is_matched() -> None:
    built = rig(
        SHARED,
        metric("m", "1", "{who: a}"),
        handler("h"),
        rule("r", action("h", "m"), match='b == "yes"'),
    )
    assert built.report({"a": "x", "b": "yes"}, {"a": "x", "b": "no"}, {"a": "x"}) == ()
    assert taken(built) == {("m", "who=x", 1): 1}


def test_matches_that_fail_are_counted_per_record() -> None:
    built = rig(handler("h"), metric("m", "1"), rule("r", action("h", "m"), match='b == "x"'))
    for _ in range(2):
        built.report({"a": "1"}, {"a": "2"}, {"b": "x"})
    assert built.notes.match_errors == {("r.rule.istio-system", "lookup failed: 'b'"): 4}


def test_one_bad_record_does_not_stop_the_others() -> None:
    built = rig(
        SHARED,
        metric("size", "n", "{who: a}"),
        logentry("log", "{n: n}"),
        handler("h"),
        rule("r", action("h", "size, log")),
    )
    errors = built.report({"a": "x", "n": 1}, {"a": "x"}, {"n": 2}, {"a": "x", "n": 3})
    assert taken(built) == {
        ("size", "who=x", 1): 1,
        ("size", "who=x", 3): 1,
        ("log", "n=1", None): 1,
        ("log", "n=2", None): 1,
        ("log", "n=3", None): 1,
    }
    assert sorted(errors) == [
        "instance 'log.instance.istio-system': evaluation failed at [variables[n]]: "
        "'lookup failed: 'n''",
        "instance 'size.instance.istio-system': evaluation failed at [dimensions[who]]: "
        "'lookup failed: 'a''",
        "instance 'size.instance.istio-system': evaluation failed at [value]: 'lookup failed: 'n''",
    ]


def test_what_handlers_complain_about_is_told() -> None:
    built = rig(
        metric("m", "1"),
        handler("h", "{errors: [one, two]}"),
        handler("k", "{error: gone}"),
        handler("l"),
        rule("r", ", ".join(action(each, "m") for each in "hkl")),
    )
    assert built.report({}, {}) == ("one", "two", "gone")
    assert taken(built, "l") == {("m", "", 1): 2}


def test_nothing_to_report() -> None:
    built = rig(metric("m", "1"), handler("h"), rule("r", action("h", "m")))
    assert built.report() == ()
    assert script(built).reported == []
    assert Rig().report({"a": "x"}) == ()


GENERATED = """
kind: instance
metadata: {name: gen}
spec:
  compiledTemplate: kubernetes
  params: {source_uid: 'a | ""'}
  attributeBindings:
    made: '$out.source_pod_name | "nobody"'
    destination.namespace: '$out.destination_namespace | "default"'
    n: '7'
---
"""


def generating(params: str = "{generated: {source_pod_name: pod}}", *texts: str) -> Rig:
    return rig(
        SHARED,
        GENERATED,
        metric("m", "n", "{who: made}"),
        handler("g", params),
        handler("h"),
        rule("gen", action("g", "gen")),
        rule("r", action("h", "m")),
        *texts,
    )


def test_generated_attributes_fill_gaps_also_in_values() -> None:
    built = generating()
    assert built.report({}, {"made": "sent"}, {"n": 5}) == ()
    assert taken(built) == {
        ("m", "who=pod", 7): 1,
        ("m", "who=sent", 7): 1,
        ("m", "who=pod", 5): 1,
    }


def test_generators_are_asked_once_for_what_they_can_tell_apart() -> None:
    built = generating()
    built.report({"a": "x", "b": "1"}, {"a": "x", "b": "2"}, {"a": "y"})
    built.report({"a": "x", "b": "3"})
    assert [each.fields["source_uid"] for each in script(built, "g").generated] == ["x", "y"]


def test_generators_are_asked_again_when_their_state_has_changed() -> None:
    built = generating()
    built.report({})
    script(built, "g").params = {"generated": {"source_pod_name": "other"}}
    built.report({})
    assert taken(built) == {("m", "who=pod", 7): 2}
    script(built, "g").generation = 1
    built.report({})
    assert taken(built)["m", "who=other", 7] == 1


def test_answers_of_generators_without_generation_are_not_kept() -> None:
    built = generating()
    script(built, "g").generation = None
    for _ in range(2):
        built.report({}, {})
    assert len(script(built, "g").generated) == 2


def test_a_failing_generator_loses_its_records_only() -> None:
    built = generating("{error: gone}")
    assert built.report({"a": "x"}) == ("preprocessing attributes failed: gone",)
    assert script(built).reported == []
    script(built, "g").params = {}
    assert built.report({"a": "x"}) == ()
    assert taken(built) == {("m", "who=nobody", 7): 1}


def test_a_generator_instance_without_value_loses_its_records_only() -> None:
    bad = GENERATED.replace("'a | \"\"'", "a")
    built = rig(
        SHARED,
        bad,
        metric("m", "1"),
        handler("g"),
        handler("h"),
        rule("gen", action("g", "gen")),
        rule("r", action("h", "m")),
    )
    (error,) = built.report({"a": "x"}, {}, {})
    assert error.startswith("preprocessing attributes failed: instance 'gen.instance")
    assert taken(built) == {("m", "", 1): 1}


def test_rules_are_chosen_by_the_namespace_generated() -> None:
    built = generating(
        "{generated: {destination_namespace: shop}}",
        rule("own", action("h.istio-system", "m.istio-system"), namespace="shop"),
    )
    built.report({}, {"destination.namespace": "web"})
    assert taken(built) == {("m", "who=nobody", 7): 3}


@pytest.mark.parametrize("count", [1, 3])
def test_maps_in_place_of_texts_are_errors_not_crashes(count: int) -> None:
    built = rig(metric("m", "1", "{who: a}"), handler("h"), rule("r", action("h", "m")))
    (error,) = built.report(*({"a": {"k": "v"}} for _ in range(count)))
    assert "error converting value to string: 'map[k:v]'" in error


def test_groups_are_forgotten_before_they_fill_the_memory() -> None:
    built = rig(metric("m", "1", "{who: a}"), handler("h"), rule("r", action("h", "m")))
    limit = report_module.MAX_GROUPS
    built.report(*({"a": str(n)} for n in range(limit + 1)))
    built.report({"a": "0"})
    first, second = script(built).reported
    assert second[0].instance is not first[0].instance
    built.report({"a": "0"})
    assert script(built).reported[2][0].instance is second[0].instance


def test_groups_with_long_texts_are_forgotten_earlier() -> None:
    built = rig(metric("m", "1", "{who: a}"), handler("h"), rule("r", action("h", "m")))
    text = "x" * report_module.CHARACTERS * (report_module.MAX_GROUPS // 4)
    for last in "0123":
        built.report({"a": text + last})
    built.report({"a": text + "0"})
    first, *_, again = script(built).reported
    assert again[0].instance is not first[0].instance


def test_reports_that_overlap_do_not_disturb_each_other() -> None:
    built = generating()
    reporter: Reporter = built.reporter
    slow = reporter.report([{"a": "x"}], built.notes)
    calls = next(slow)
    script(built, "g").generation = 2
    assert run(reporter.report([{"a": "x"}], built.notes)) == ()
    flush = slow.send([call.invoke() for call in calls])
    with pytest.raises(StopIteration):
        slow.send([call.invoke() for call in flush])
    assert taken(built) == {("m", "who=pod", 7): 2}
