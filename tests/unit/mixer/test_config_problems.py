"""What is wrong with Mixer's configuration objects, and what is left (mixer.md D5 to D8, L25, L26).

Texts about descriptors are with what reads those (test_dynamic).
"""

from __future__ import annotations

import pytest

from mast.galley.core.judge import judge, read
from mast.galley.core.objects import Defaults
from mast.mixer.core.engine import HeaderOperation, Operation, RouteDirective, Status
from mastapi.galley.v1 import config_pb2
from tests.support.mixer_config import Rig
from tests.support.mixer_objects import DENY, GENERATOR, MANIFEST, NOTHING, metric, rule


@pytest.mark.parametrize(
    ("texts", "problems"),
    [
        pytest.param(
            [DENY, NOTHING, rule("{actions: [{handler: gone, instances: [nothing]}]}")],
            [
                "r.rule.istio-system: actions[0].handler: Handler not found: handler='gone'",
                "r.rule.istio-system: No valid actions found in rule",
            ],
            id="handler-not-found",
        ),
        pytest.param(
            [DENY, rule("{actions: [{handler: deny, instances: [gone]}]}")],
            [
                "r.rule.istio-system: actions[0].instances[0]: "
                "Instance not found: instance='gone'",
                "r.rule.istio-system: actions[0]: No valid instances found",
                "r.rule.istio-system: No valid actions found in rule",
            ],
            id="instance-not-found",
        ),
        pytest.param(
            [DENY, NOTHING, rule("{actions: [{handler: deny, instances: [nothing, nothing]}]}")],
            [
                "r.rule.istio-system: actions[0].instances[1]: "
                "action specified the same instance multiple times: instance='nothing',"
            ],
            id="same-instance-twice",
        ),
        pytest.param(
            [MANIFEST, DENY, metric('{value: "1"}'),
             rule("{actions: [{handler: deny, instances: [m]}]}")],
            [
                "r.rule.istio-system: actions[0].instances[0]: "
                "instance 'm.instance.istio-system' is of template 'metric' which is not "
                "supported by handler 'deny.handler.istio-system'",
                "r.rule.istio-system: actions[0]: No valid instances found",
                "r.rule.istio-system: No valid actions found in rule",
            ],
            id="template-not-supported",
        ),
        pytest.param(
            [rule("{}")],
            ["r.rule.istio-system: No valid actions found in rule"],
            id="no-actions",
        ),
        pytest.param(
            [MANIFEST, DENY, NOTHING,
             rule("{match: response.code, actions: [{handler: deny, instances: [nothing]}]}")],
            [
                "r.rule.istio-system: match: expression 'response.code' "
                "evaluated to type INT64, expected type BOOL"
            ],
            id="match-is-no-bool",
        ),
        pytest.param(
            [DENY, NOTHING,
             rule("{match: gone == 1, actions: [{handler: deny, instances: [nothing]}]}")],
            ["r.rule.istio-system: match: unknown attribute gone"],
            id="match-does-not-compile",
        ),
        pytest.param(
            [MANIFEST, DENY, NOTHING,
             rule("{match: '$out.source_pod_name == \"x\"',"
                  " actions: [{handler: deny, instances: [nothing]}]}")],
            [
                "r.rule.istio-system: match: unable to parse expression "
                "'$out.source_pod_name == \"x\"': 1:1: illegal character U+0024 '$'"
            ],
            id="outputs-are-for-bindings",
        ),
        pytest.param(
            [MANIFEST, metric('{value: "1", dimensions: {a: output.greeting}}')],
            [
                "m.instance.istio-system: dimensions[a]: failed to evaluate expression for field "
                "'dimensions[a]'; unknown attribute output.greeting"
            ],
            id="outputs-of-dynamic-templates-too",
        ),
        pytest.param(
            [DENY, NOTHING,
             rule("{match: 'true', requestHeaderOperations: [{name: x, values: ['a.output.v']}],"
                  " actions: [{handler: deny, instances: [nothing], name: a}]}")],
            [
                "r.rule.istio-system: requestHeaderOperations[0].values[0]: failed to evaluate "
                "expression for field 'requestHeaderOperations[0].values[0]'; "
                "unknown attribute a.output.v"
            ],
            id="check-output-that-there-is-not",
        ),
        pytest.param(
            ["{kind: instance, metadata: {name: i}, spec: {params: {}}}"],
            ["i.instance.istio-system: missing compiled template"],
            id="no-template",
        ),
        pytest.param(
            ["{kind: instance, metadata: {name: i}, spec: {compiledTemplate: gone}}"],
            ["i.instance.istio-system: template 'gone' not found"],
            id="template-not-found",
        ),
        pytest.param(
            ["{kind: handler, metadata: {name: h}, spec: {compiledAdapter: gone}}"],
            ["h.handler.istio-system: adapter 'gone' not found"],
            id="adapter-not-found",
        ),
        pytest.param(
            ["{kind: signalfx, metadata: {name: h}, spec: {ingest_url: 'x:1'}}"],
            ["h.signalfx.istio-system: adapter 'signalfx' not found"],
            id="legacy-adapter-not-found",
        ),
        pytest.param(
            [MANIFEST, metric('{value: gone, dimensions: {a: "1 +", b: "\\"x\\""}}')],
            [
                "m.instance.istio-system: value: "
                "failed to evaluate expression for field 'value'; unknown attribute gone",
                "m.instance.istio-system: dimensions[a]: failed to evaluate expression for field "
                "'dimensions[a]'; unable to parse expression '1 +': "
                "1:4: expected operand, found 'EOF'",
            ],
            id="every-bad-expression-is-told",
        ),
        pytest.param(
            [MANIFEST, metric('{value: "1", monitored_resource_type: response.code}')],
            [
                "m.instance.istio-system: monitored_resource_type: error type checking for field "
                "'monitored_resource_type': Evaluated expression type INT64 want STRING"
            ],
            id="field-of-another-type",
        ),
        pytest.param(
            [metric('{value: "1", valeu: "2"}')],
            ['m.instance.istio-system: valeu: unknown field "valeu" in InstanceParam'],
            id="unknown-field",
        ),
        pytest.param(
            [metric("{value: 1, dimensions: [a]}")],
            [
                "m.instance.istio-system: value: "
                "must be a string that holds an expression, got 1.0",
                "m.instance.istio-system: dimensions: must be an object, got ['a']",
            ],
            id="params-of-another-form",
        ),
        pytest.param(
            [metric('{value: "1", dimensions: {a: ""}}')],
            [
                "m.instance.istio-system: dimensions[a]: failed to evaluate expression for field "
                "'dimensions[a]'; unable to parse expression '': "
                "1:1: expected operand, found 'EOF'"
            ],
            id="empty-map-entry",
        ),
        pytest.param(
            [metric('{value: "1"}', ', attributeBindings: {a: "1"}')],
            [
                "m.instance.istio-system: attribute_bindings[a]: "
                "template 'metric' has no outputs to bind"
            ],
            id="bindings-without-outputs",
        ),
        pytest.param(
            ["{kind: kubernetes, metadata: {name: k}, spec: {attributeBindings: [a]}}"],
            [
                "k.kubernetes.istio-system: attribute_bindings: "
                "must be an object of strings, got ['a']"
            ],
            id="legacy-bindings-of-another-form",
        ),
        pytest.param(
            ["{kind: rule, metadata: {name: r, annotations: {policy.istio.io/lang: CEL}}, "
             "spec: {match: 'a | b'}}"],
            [
                "r.rule.istio-system: match: unable to parse expression 'a | b': 1:3: Syntax "
                "error: token recognition error at: '| '",
                "r.rule.istio-system: No valid actions found in rule",
            ],
            id="language-of-a-rule",
        ),
        pytest.param(
            ["{kind: listentry, metadata: {name: i, annotations: {policy.istio.io/lang: COMPAT}},"
             " spec: {value: ip(1)}}"],
            [
                "i.listentry.istio-system: value: failed to evaluate expression for field 'value'; "
                "unable to parse expression 'ip(1)': 1:3: found no matching overload for 'ip' "
                "applied to '(int)'"
            ],
            id="language-of-an-instance",
        ),
    ],
)  # fmt: skip
def test_problems(texts: list[str], problems: list[str]) -> None:
    """D7: every problem of an object is told, in these words."""
    assert Rig(*texts).problems == problems


def test_fields_that_a_handler_has_not_are_refused_when_written() -> None:
    """D7: Galley knows the fields of objects; what it stores has no others."""
    text = """
apiVersion: config.istio.io/v1alpha2
kind: handler
metadata: {name: h}
spec: {compiledAdapter: denier, typo: 1}
"""
    source = config_pb2.Source(name="h.yaml", text=text)
    (problem,) = judge(read([source], (), Defaults("default"))).problems
    assert (problem.rule, problem.path) == ("unknown-field", "spec.typo")
    assert problem.message.startswith("unknown field 'typo' of Handler; allowed: adapter,")


def test_a_rule_that_only_changes_headers_is_complete() -> None:
    """D8: it needs no action."""
    rig = Rig(rule("{requestHeaderOperations: [{name: x, operation: REMOVE}]}"))
    assert rig.problems == []
    assert rig.check().directive == RouteDirective((HeaderOperation("x", "", Operation.REMOVE),))


def test_params_that_do_not_decode_leave_the_defaults() -> None:
    """D8: a warning."""
    rig = Rig(
        NOTHING,
        "{kind: handler, metadata: {name: deny},"
        " spec: {compiledAdapter: denier, params: {valid_use_count: 5, typo: 1}}}",
        rule("{actions: [{handler: deny, instances: [nothing]}]}"),
    )
    (problem,) = rig.problems
    assert problem.startswith("deny.handler.istio-system: params: params do not fit adapter")
    assert "typo" in problem
    assert rig.check().valid_use_count == 1000


@pytest.mark.parametrize(
    "params",
    [
        "{status: {code: 7}, valid_use_count: 5, valid_duration: 2s}",
        "{status: {code: 7}, validUseCount: 5, validDuration: 2s}",
    ],
)
def test_params_go_over_the_defaults_in_either_spelling(params: str) -> None:
    """D6."""
    rig = Rig(
        NOTHING,
        f"{{kind: handler, metadata: {{name: deny}},"
        f" spec: {{compiledAdapter: denier, params: {params}}}}}",
        rule("{actions: [{handler: deny, instances: [nothing]}]}"),
    )
    verdict = rig.check()
    assert verdict.status.code == 7
    assert verdict.valid_use_count == 5
    assert verdict.valid_duration.total_seconds() == 2


def test_a_bad_object_hurts_only_itself() -> None:
    """D7, L26."""
    rig = Rig(
        MANIFEST,
        DENY,
        NOTHING,
        "{kind: instance, metadata: {name: bad}, spec: {compiledTemplate: gone}}",
        rule(
            "{actions: [{handler: gone, instances: [nothing]},"
            " {handler: deny, instances: [bad, nothing]}]}"
        ),
        rule("{match: gone, actions: [{handler: deny, instances: [nothing]}]}", name="bad"),
    )
    assert len(rig.problems) == 4
    assert rig.check().status == Status(9, "deny.istio-system:denied")
    assert rig.snapshot.counts.rules == 2
    assert rig.snapshot.counts.rule_errors == 2
    assert rig.snapshot.counts.match_errors == 1
    assert rig.snapshot.counts.unsatisfied_actions == 1
    assert rig.snapshot.counts.instances == 2
    assert rig.snapshot.counts.instance_errors == 1


@pytest.mark.parametrize(
    ("bindings", "problem"),
    [
        (
            "{gone: '$out.source_namespace'}",
            "attribute_bindings[gone]: error evaluating AttributeBinding expression for "
            "attribute key 'gone': unknown attribute gone",
        ),
        (
            "{source.namespace: '$out.gone'}",
            "attribute_bindings[source.namespace]: error evaluating AttributeBinding expression "
            "for attribute key 'source.namespace': unknown attribute $out.gone",
        ),
        (
            "{source.ip: '$out.source_namespace'}",
            "attribute_bindings[source.ip]: error type checking for field 'source.ip': "
            "Evaluated expression type STRING want IP_ADDRESS",
        ),
    ],
)
def test_a_bad_binding_rejects_the_instance(bindings: str, problem: str) -> None:
    """D5, D8, L29: of a compiled template."""
    rig = Rig(
        MANIFEST,
        GENERATOR,
        f"{{kind: instance, metadata: {{name: g}}, spec: {{compiledTemplate: kubernetes,"
        f" params: {{}}, attributeBindings: {bindings}}}}}",
    )
    assert rig.problems == [f"g.instance.istio-system: {problem}"]
    assert rig.snapshot.counts.instance_errors == 1
