"""Checks (mixer.md A7 to A30; checklist 6 to 12, 14 to 16)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mast.mixer.core.engine import (
    CheckFailed,
    CheckVerdict,
    HeaderOperation,
    Operation,
    RouteDirective,
    Status,
)
from mast.mixer.core.templates import Variety
from mast.mixer.core.values import Attributes
from tests.fakes.mixer_adapter import KEYVAL, adapter
from tests.support.mixer_config import Rig

MANIFEST = """
kind: attributemanifest
metadata: {name: basic}
spec:
  attributes:
    a: {valueType: STRING}
    b: {valueType: STRING}
    c: {valueType: STRING}
    made: {valueType: STRING}
    destination.namespace: {valueType: STRING}
    source.ip: {valueType: IP_ADDRESS}
    m: {valueType: STRING_MAP}
---
"""
NOTHING = """
kind: instance
metadata: {name: nothing}
spec: {compiledTemplate: checknothing}
---
"""
MINUTE = timedelta(minutes=1)


def handler(name: str, params: str = "{}", namespace: str = "istio-system") -> str:
    return f"""
kind: handler
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{compiledAdapter: script, params: {params}}}
---
"""


def listentry(name: str, value: str) -> str:
    return f"""
kind: instance
metadata: {{name: {name}}}
spec: {{compiledTemplate: listentry, params: {{value: '{value}'}}}}
---
"""


def rule(name: str, actions: str = "", match: str = "", more: str = "",
         namespace: str = "istio-system") -> str:  # fmt: skip
    return f"""
kind: rule
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{match: '{match}', actions: [{actions}]{more}}}
---
"""


def action(handler: str, instance: str = "nothing.istio-system", name: str = "") -> str:
    return f"{{handler: {handler}, instances: [{instance}], name: '{name}'}}"


def rig(*texts: str) -> Rig:
    built = Rig(MANIFEST, NOTHING, *texts, extra=[adapter()], templates=[KEYVAL])
    assert built.problems == []
    return built


def referenced(verdict: CheckVerdict) -> list[str]:
    """``name`` or ``name[key]``, with ``!`` before those that must be absent."""
    return [
        ("!" if each.condition.name == "ABSENCE" else "")
        + (each.name if each.map_key is None else f"{each.name}[{each.map_key}]")
        for each in verdict.referenced
    ]


NAMESPACE = ["!context.reporter.kind", "!destination.namespace"]


def test_without_rules_everything_is_allowed_for_a_minute() -> None:
    """A26, L6: OK, 1 min, 10000."""
    verdict = Rig().check({"a": "x"})
    assert (verdict.status, verdict.valid_duration, verdict.valid_use_count) == (
        Status(),
        MINUTE,
        10_000,
    )
    assert verdict.directive is None
    assert referenced(verdict) == NAMESPACE


def test_denier() -> None:
    """A25, L7: its message has the handler's name in front."""
    built = rig(
        "{kind: handler, metadata: {name: denyall}, spec: {compiledAdapter: denier,"
        " params: {status: {code: 7, message: Not allowed}}}}\n---\n",
        rule("r", action("denyall")),
    )
    verdict = built.check()
    assert verdict.status == Status(7, "denyall.istio-system:Not allowed")
    assert verdict.valid_duration == timedelta(seconds=5)
    assert verdict.valid_use_count == 1000


def test_the_denier_fails_preconditions_by_default() -> None:
    """A24, A25: also without a message."""
    verdict = rig(
        "{kind: handler, metadata: {name: d}, spec: {compiledAdapter: denier}}\n---\n",
        rule("r", action("d")),
    ).check()
    assert verdict.status == Status(9, "d.istio-system:")


@pytest.mark.parametrize(
    ("handlers", "status", "seconds", "uses"),
    [
        pytest.param(["{seconds: 5, uses: 10}"], Status(), 5, 10, id="one"),
        pytest.param(["{seconds: 5, uses: 10}", "{seconds: 2, uses: 20}"], Status(), 2, 10,
                     id="minimum-of-each"),
        pytest.param(["{code: 7, message: x, seconds: 9, uses: 3}", "{seconds: 5, uses: 10}"],
                     Status(7, "h0.istio-system:x"), 5, 3, id="denial-and-success"),
        pytest.param(["{}", "{code: 9, message: x}", "{code: 7, message: y}"],
                     Status(9, "h1.istio-system:x, h2.istio-system:y"), 0, 0,
                     id="first-code-all-messages"),
        pytest.param(["{}", "{seconds: 5, uses: 10}"], Status(), 5, 10, id="default-left-out"),
        pytest.param(["{seconds: 5, uses: 10}", "{}"], Status(), 5, 10, id="default-last"),
        pytest.param(["{}", "{}"], Status(), 60, 10_000, id="all-default"),
        pytest.param(["{seconds: 5}"], Status(), 5, 0, id="only-one-validity"),
    ],
)  # fmt: skip
def test_combined_results(handlers: list[str], status: Status, seconds: int, uses: int) -> None:
    """A24, A26, L8: minima of what says something, the first code, every message."""
    names = [f"h{index}" for index in range(len(handlers))]
    verdict = rig(
        *(handler(name, params) for name, params in zip(names, handlers, strict=True)),
        rule("r", ", ".join(map(action, names))),
    ).check()
    assert verdict.status == status
    assert verdict.valid_duration == timedelta(seconds=seconds)
    assert verdict.valid_use_count == uses


def test_results_are_in_config_order_rules_by_name() -> None:
    """A24: whichever completes first."""
    verdict = rig(
        handler("x", "{code: 3, message: x}"),
        handler("y", "{code: 7, message: y}"),
        rule("b", action("x")),
        rule("a", action("y")),
    ).check()
    assert verdict.status == Status(7, "y.istio-system:y, x.istio-system:x")


@pytest.mark.parametrize(
    ("attributes", "applied"),
    [
        pytest.param({"destination.namespace": "shop"}, ["root", "shop"], id="inbound-by-default"),
        pytest.param({"context.reporter.kind": "inbound", "destination.namespace": "shop"},
                     ["root", "shop"], id="inbound"),
        pytest.param({"context.reporter.kind": "outbound", "destination.namespace": "shop",
                      "source.namespace": "web"}, ["root", "web"], id="outbound"),
        pytest.param({"context.reporter.kind": "sideways", "destination.namespace": "shop"},
                     ["root"], id="other-kind"),
        pytest.param({"context.reporter.kind": 7, "destination.namespace": "shop"},
                     ["root", "shop"], id="kind-is-no-string"),
        pytest.param({"destination.namespace": 7}, ["root"], id="namespace-is-no-string"),
        pytest.param({"destination.namespace": "istio-system"}, ["root"], id="root-once"),
        pytest.param({"destination.namespace": "else"}, ["root"], id="namespace-without-rules"),
        pytest.param({}, ["root"], id="no-namespace"),
    ],
)  # fmt: skip
def test_rules_of_the_root_and_of_the_requests_namespace(
    attributes: Attributes, applied: list[str]
) -> None:
    """A16, A17, L11: the root's first."""
    spaces = {"root": "istio-system", "shop": "shop", "web": "web"}
    verdict = rig(
        *(handler(name, f"{{code: 7, message: {name}}}", space) for name, space in spaces.items()),
        *(rule("r", action(name), namespace=space) for name, space in spaces.items()),
    ).check(attributes)
    assert verdict.status.message == ", ".join(f"{name}.{spaces[name]}:{name}" for name in applied)


def test_a_match_that_cannot_be_evaluated_does_not_apply() -> None:
    """A20, L9: counted, no error of the call."""
    built = rig(handler("h", "{code: 7}"), rule("r", action("h"), match='a == "x"'))
    verdict = built.check()
    assert verdict.status.code == 0
    assert referenced(verdict) == [*NAMESPACE, "!a"]
    assert built.notes.match_errors == {("r.rule.istio-system", "lookup failed: 'a'"): 1}


def test_an_instance_without_value_fails_the_call_but_others_are_asked() -> None:
    """A21, L10."""
    built = rig(
        handler("h"),
        listentry("bad", "a | b"),
        listentry("good", '"x"'),
        rule("r", action("h", "bad") + ", " + action("h", "good")),
    )
    with pytest.raises(CheckFailed) as failed:
        built.check()
    assert str(failed.value) == (
        "performing check operation failed: instance 'bad.instance.istio-system': "
        "evaluation failed at [value]: 'lookup failed: 'b''"
    )
    (script,) = built.handlers.values()
    assert [each.name for each in script.checked] == ["good.instance.istio-system"]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ("{error: backend is gone}", "backend is gone"),
        ("{panic: oops}", "panic during handler dispatch: oops"),
    ],
)
def test_an_adapter_that_fails_fails_the_call(params: str, text: str) -> None:
    """A23, L16: an error and a panic; the others are asked."""
    built = rig(
        handler("bad", params), handler("good"), rule("r", action("bad") + ", " + action("good"))
    )
    with pytest.raises(CheckFailed) as failed:
        built.check()
    assert str(failed.value) == f"performing check operation failed: {text}"
    assert len(built.handlers["good.handler.istio-system"].checked) == 1


@pytest.mark.parametrize(
    ("value", "attributes", "expected"),
    [
        pytest.param("a", {"a": "x"}, ["a"], id="plain"),
        pytest.param('a | "z"', {}, ["!a"], id="absent"),
        pytest.param('m["k"]', {"m": {"k": "v"}}, ["m[k]"], id="key"),
        pytest.param('m["k"]', {"m": {}}, ["!m[k]"], id="absent-key"),
        pytest.param('m["k"] | "z"', {}, ["!m"], id="absent-map"),
        pytest.param('conditional(a == "x" || b == "x", a, b)', {"a": "x", "b": "y"}, ["a"],
                     id="short-circuit"),
        pytest.param('a | m["k"] | b | "z"', {"m": {"k": "v"}, "b": "y"}, ["!a", "m[k]"],
                     id="chain"),
    ],
)  # fmt: skip
def test_referenced_attributes_are_exact(
    value: str, attributes: Attributes, expected: list[str]
) -> None:
    """A7, A11, L12: plain, absent, keys, short circuits, chains."""
    built = rig(handler("h"), listentry("i", value), rule("r", action("h", "i")))
    assert referenced(built.check(attributes)) == [*NAMESPACE, *expected]


@pytest.mark.parametrize("request_map", [{}, {"k": "v"}, {"k": "v", "l": "w"}])
def test_a_map_that_is_a_value_depends_on_all_of_it(request_map: dict[str, str]) -> None:
    """A10: each key is referenced; as none says that there is no other one, nothing is reused."""
    built = rig(
        handler("h", "{seconds: 5, uses: 9, look: true}"),
        listentry("i", "m | emptyStringMap()"),
        rule("r", action("h", "i")),
    )
    verdict = built.check({"m": request_map})
    assert referenced(verdict) == [*NAMESPACE, *(f"m[{key}]" for key in request_map)]
    assert (verdict.valid_duration, verdict.valid_use_count) == (timedelta(seconds=5), 0)
    assert built.check({}).valid_use_count == 9


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param({}, NAMESPACE, id="default"),
        pytest.param({"context.reporter.kind": "inbound", "destination.namespace": "x"},
                     ["context.reporter.kind", "destination.namespace"], id="inbound"),
        pytest.param({"context.reporter.kind": "outbound"},
                     ["context.reporter.kind", "!source.namespace"], id="outbound"),
        pytest.param({"context.reporter.kind": "else"}, ["context.reporter.kind"], id="other"),
    ],
)  # fmt: skip
def test_the_choice_of_the_namespace_is_always_referenced(
    request_: Attributes, expected: list[str]
) -> None:
    """A9, A16: also of a verdict that no rule had a part in."""
    assert referenced(Rig().check(request_)) == expected


@pytest.mark.parametrize(
    ("attributes", "denied", "text"),
    [
        ({"a": "x"}, True, ""),
        ({"A": "x"}, False, ""),
        ({"a": "x", "never.heard.of": "y", "": "z"}, True, ""),
        ({"a": 5}, False, "error converting value to string: '5'"),
        ({"a": {"k": "x"}}, False, "error converting value to string: 'map[k:x]'"),
    ],
)
def test_names_and_types_of_attributes(attributes: Attributes, denied: bool, text: str) -> None:
    """A6: names are case-sensitive, unknown ones are carried, types count when they are read."""
    built = rig(handler("h", "{code: 7}"), rule("r", action("h"), match='a == "x"'))
    assert (built.check(attributes).status.code == 7) is denied
    told = [error for rule, error in built.notes.match_errors]
    assert (told == [text]) or not text


def test_a_rule_that_does_not_apply_references_its_match_only() -> None:
    """A7, L12."""
    built = rig(
        handler("h"),
        listentry("i", "b"),
        listentry("j", "c"),
        rule("one", action("h", "i"), match='a == "no"'),
        rule("two", action("h", "j"), match='a == "x"'),
    )
    verdict = built.check({"a": "x", "b": "y", "c": "z"})
    assert referenced(verdict) == [*NAMESPACE, "a", "c"]


GENERATED = """
kind: instance
metadata: {name: gen}
spec:
  compiledTemplate: kubernetes
  params: {source_uid: 'a | ""'}
  attributeBindings:
    made: '$out.source_pod_name | "nobody"'
    destination.namespace: '$out.destination_namespace | "default"'
---
"""


def test_generated_attributes_can_be_matched_and_leave_no_record() -> None:
    """A8, A13, A15, L12, L29."""
    built = rig(
        GENERATED,
        handler("g", "{generated: {source_pod_name: pod}}"),
        handler("h", "{code: 7}"),
        rule("gen", action("g", "gen")),
        rule("r", action("h"), match='made == "pod"'),
    )
    verdict = built.check({"a": "uid"})
    assert verdict.status.code == 7
    # The namespace is looked up before generation, of which it is then an output.
    assert referenced(verdict) == [*NAMESPACE, "a"]
    (instance,) = built.handlers["g.handler.istio-system"].generated
    assert instance.fields["source_uid"] == "uid"


def test_a_generated_attribute_never_replaces_one_that_was_sent() -> None:
    """A13, L29."""
    built = rig(
        GENERATED,
        handler("g", "{generated: {source_pod_name: pod}}"),
        handler("h", "{code: 7}"),
        rule("gen", action("g", "gen")),
        rule("r", action("h"), match='made == "pod"'),
    )
    verdict = built.check({"made": "sent"})
    assert verdict.status.code == 0
    assert "made" in referenced(verdict)


def test_generators_are_chosen_by_the_namespace_sent_and_rules_by_the_one_generated() -> None:
    """A13, A15."""
    built = rig(
        GENERATED,
        handler("g", "{generated: {destination_namespace: shop}}"),
        handler("h", "{code: 7}", "shop"),
        rule("gen", action("g", "gen")),
        rule("r", action("h"), namespace="shop"),
        rule("gen", action("g.istio-system", "gen.istio-system"), namespace="shop"),
    )
    assert built.check().status.code == 7
    assert len(built.handlers["g.handler.istio-system"].generated) == 1


def test_of_several_generators_the_first_in_config_order_counts() -> None:
    """A13."""
    built = rig(
        GENERATED,
        handler("one", "{generated: {source_pod_name: first}}"),
        handler("two", "{generated: {source_pod_name: second}}"),
        handler("h", "{code: 7}"),
        rule("b", action("two", "gen")),
        rule("a", action("one", "gen")),
        rule("r", action("h"), match='made == "first"'),
    )
    assert built.check().status.code == 7


@pytest.mark.parametrize(
    ("params", "value", "binding", "text"),
    [
        ("{error: gone}", 'a | ""', "$out.source_pod_name", "gone"),
        ("{panic: oops}", 'a | ""', "$out.source_pod_name", "panic during handler dispatch: oops"),
        (
            "{}",
            'a | ""',
            "$out.source_pod_name",
            "instance 'gen.instance.istio-system': evaluation failed at "
            "[attribute_bindings[made]]: 'lookup failed: '$out.source_pod_name''",
        ),
        (
            "{}",
            "a",
            '"x"',
            "instance 'gen.instance.istio-system': evaluation failed at "
            "[source_uid]: 'lookup failed: 'a''",
        ),
    ],
)
def test_failing_generation_fails_the_call(
    params: str, value: str, binding: str, text: str
) -> None:
    """A14, F2: an error, a panic, a binding or a field without value."""
    built = rig(
        f"{{kind: instance, metadata: {{name: gen}}, spec: {{compiledTemplate: kubernetes,"
        f" params: {{source_uid: '{value}'}}, attributeBindings: {{made: '{binding}'}}}}}}\n---\n",
        handler("g", params),
        rule("gen", action("g", "gen")),
    )
    with pytest.raises(CheckFailed) as failed:
        built.check()
    assert str(failed.value) == f"preprocessing attributes failed: {text}"


def test_a_direct_response_becomes_the_route_directive() -> None:
    """A27, L15: of the first that fails; cookies apart."""
    verdict = rig(
        handler("fine", "{seconds: 1}"),
        handler("h", "{code: 16, body: login, http: 302,"
                " headers: {Location: /login, Set-Cookie: 'a=1, b=2'}}"),
        handler("later", "{code: 7, body: other}"),
        rule("r", ", ".join(map(action, ["fine", "h", "later"]))),
    ).check()  # fmt: skip
    assert verdict.status.code == 16
    assert verdict.directive == RouteDirective(
        response_operations=(
            HeaderOperation("Location", "/login", Operation.REPLACE),
            HeaderOperation("Set-Cookie", "a=1", Operation.APPEND),
            HeaderOperation("Set-Cookie", "b=2", Operation.APPEND),
        ),
        direct_response_code=302,
        direct_response_body="login",
    )


def test_a_denier_answers_directly_as_users_write_it() -> None:
    """A27, L15: code, body and headers stand in the details of its status."""
    verdict = rig(
        """
kind: handler
metadata: {name: login}
spec:
  compiledAdapter: denier
  params:
    status:
      code: 16
      message: who are you?
      details:
      - "@type": type.googleapis.com/istio.policy.v1beta1.DirectHttpResponse
        code: Found
        body: see there
        headers: {location: /login, set-cookie: "a=1; Path=/,b=2"}
---
""",
        rule("r", action("login")),
    ).check()
    assert verdict.status == Status(16, "login.istio-system:who are you?")
    assert verdict.directive == RouteDirective(
        response_operations=(
            HeaderOperation("location", "/login", Operation.REPLACE),
            HeaderOperation("set-cookie", "a=1; Path=/", Operation.APPEND),
            HeaderOperation("set-cookie", "b=2", Operation.APPEND),
        ),
        direct_response_code=302,
        direct_response_body="see there",
    )


@pytest.mark.parametrize(
    ("code", "http"),
    [(1, 408), (2, 500), (3, 400), (4, 504), (5, 404), (6, 409), (7, 403), (8, 429), (9, 412),
     (10, 409), (11, 400), (12, 501), (13, 500), (14, 503), (15, 500), (16, 401), (99, 500)],
)  # fmt: skip
def test_a_direct_response_without_code_gets_one(code: int, http: int) -> None:
    """A28: every code, and an unknown one."""
    verdict = rig(handler("h", f"{{code: {code}, body: x}}"), rule("r", action("h"))).check()
    assert verdict.directive is not None
    assert verdict.directive.direct_response_code == http


def test_only_the_first_failing_result_gives_a_direct_response() -> None:
    """A27."""
    verdict = rig(
        handler("h", "{code: 7}"),
        handler("later", "{code: 7, body: other}"),
        rule("r", ", ".join(map(action, ["h", "later"]))),
    ).check()
    assert verdict.directive is None


OPERATIONS = (
    ", requestHeaderOperations: [{name: x-a, values: [a]},"
    " {name: x-b, values: ['b | \"\"', '\"two\"'], operation: APPEND},"
    " {name: x-c, operation: REMOVE}, {name: x-d, values: [b]}],"
    " responseHeaderOperations: [{name: x-r, values: ['\"yes\"']}]"
)


def test_header_operations() -> None:
    """A29, A30, L14: each operation; values that fail or are empty are left out."""
    built = rig(rule("r", more=OPERATIONS))
    verdict = built.check({"a": "1"})
    assert verdict.directive == RouteDirective(
        (
            HeaderOperation("x-a", "1", Operation.REPLACE),
            HeaderOperation("x-b", "two", Operation.APPEND),
            HeaderOperation("x-c", "", Operation.REMOVE),
        ),
        (HeaderOperation("x-r", "yes", Operation.REPLACE),),
    )
    assert (verdict.valid_duration, verdict.valid_use_count) == (MINUTE, 10_000)
    assert referenced(verdict) == [*NAMESPACE, "a", "!b"]


def test_header_operations_need_a_match_and_an_ok() -> None:
    """A29, L14: dropped on denial."""
    matched = rule("r", match='a == "x"', more=OPERATIONS)
    assert rig(matched).check({"a": "y"}).directive is None
    denied = rig(matched, handler("h", "{code: 7}"), rule("deny", action("h")))
    assert denied.check({"a": "x"}).directive is None


def test_header_operations_of_the_root_come_before_those_of_the_namespace() -> None:
    """A18, A29: merged, not lost."""

    def operations(name: str) -> str:
        return f", requestHeaderOperations: [{{name: {name}, values: ['\"x\"']}}]"

    verdict = rig(
        rule("z", more=operations("root")),
        rule("b", more=operations("own-b"), namespace="shop"),
        rule("a", more=operations("own-a"), namespace="shop"),
    ).check({"destination.namespace": "shop"})
    assert verdict.directive is not None
    names = [each.name for each in verdict.directive.request_operations]
    assert names == ["root", "own-a", "own-b"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("gone", "failed to evaluate expression for field "
         "'requestHeaderOperations[1].values[0]'; unknown attribute gone"),
        ("m", "error type checking for field 'requestHeaderOperations[1].values[0]': "
         "Evaluated expression type STRING_MAP want STRING"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_compile_drops_the_operations_of_its_rule(
    value: str, problem: str
) -> None:
    """A29: all of that rule, none of others."""
    bad = (
        f", requestHeaderOperations: [{{name: good, values: ['\"x\"']}},"
        f" {{name: bad, values: ['{value}']}}]"
    )
    good = ", responseHeaderOperations: [{name: other, values: ['\"x\"']}]"
    built = Rig(MANIFEST, rule("r", more=bad), rule("s", more=good))
    assert built.problems == [
        f"r.rule.istio-system: requestHeaderOperations[1].values[0]: {problem}"
    ]
    assert built.check().directive == RouteDirective((), (HeaderOperation("other", "x"),))


def test_check_outputs_are_of_their_rule_and_no_attributes() -> None:
    """A8, A29: another rule may use the same name; what is not put out is not looked up."""
    operations = ", requestHeaderOperations: [{name: x, values: ['look.output.value']}]"
    missing = ", requestHeaderOperations: [{name: y, values: ['look.output.empty | a']}]"
    built = rig(
        "{kind: instance, metadata: {name: kv}, spec: {compiledTemplate: keyval}}\n---\n",
        handler("h", "{seconds: 1, output: {value: ann}}"),
        handler("k", "{seconds: 1, output: {value: bob}}"),
        rule("a", action("h", "kv", "look"), more=operations),
        rule("b", action("k", "kv", "look"), more=operations),
        rule("c", action("h", "kv", "look"), more=missing),
        rule("d", action("h", "kv", "look"), match='b == "x"', more=operations),
    )
    verdict = built.check({"a": "1"})
    assert verdict.directive == RouteDirective(
        (HeaderOperation("x", "ann"), HeaderOperation("x", "bob"), HeaderOperation("y", "1"))
    )
    assert referenced(verdict) == [*NAMESPACE, "!b", "a"]
    assert not any("output" in name for name in built.routing.reads(Variety.CHECK).names)


def test_header_values_can_use_check_output() -> None:
    """A19, A29, L14: CHECK_WITH_OUTPUT is dispatched with CHECK."""
    operations = (
        ", requestHeaderOperations: ["
        "{name: x-user, values: ['look.output.value + a']},"
        "{name: x-none, values: ['look.output.empty']}]"
    )
    built = rig(
        "{kind: instance, metadata: {name: kv}, spec: {compiledTemplate: keyval}}\n---\n",
        handler("h", "{seconds: 1, output: {value: ann, empty: ''}}"),
        rule("r", action("h", "kv", "look"), more=operations),
    )
    verdict = built.check({"a": "!"})
    assert verdict.directive == RouteDirective((HeaderOperation("x-user", "ann!"),))
    assert referenced(verdict) == [*NAMESPACE, "a"]
