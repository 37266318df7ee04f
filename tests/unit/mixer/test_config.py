"""The compiled configuration (mixer.md D1 to D9, F1; checklist 24 to 26, 28, 29)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mast.common.expressions.types import ValueType
from mast.mixer.core.adapter import HandlerConfig
from mast.mixer.core.config.snapshot import compile_snapshot
from mast.mixer.core.dynamic import DynamicAdapter
from mast.mixer.core.templates import TEMPLATES, MapOf, Record, Scalar, Template, Variety
from tests.fakes import mixer_adapter
from tests.support.mixer_config import Rig, entries
from tests.support.mixer_objects import DENY, GENERATOR, MANIFEST, NOTHING, metric, rule
from tests.support.remote_adapter import descriptor, template_file
from tests.unit.mixer.test_dynamic import CHECK, CHECK_RESULT

REFERENCES = [
    pytest.param("shop", "d", "i", "d.handler.shop", id="short"),
    pytest.param("shop", "d.handler.other", "i.instance.other", "d.handler.other", id="fqn"),
    pytest.param("shop", "d.other", "i.other", "d.handler.other", id="namespace"),
    pytest.param("shop", "d.denier", "i.checknothing", "d.denier.shop", id="legacy-kind"),
    pytest.param("shop", "d.handler", "i.instance", "d.handler.shop", id="kind"),
]


@pytest.mark.parametrize(("namespace", "handler", "instance", "found"), REFERENCES)
def test_references(namespace: str, handler: str, instance: str, found: str) -> None:
    """D2, L24: handlers and instances, each form."""
    objects = "\n---\n".join(
        f"{{kind: handler, metadata: {{name: d, namespace: {each}}},"
        f" spec: {{compiledAdapter: denier}}}}\n---\n"
        f"{{kind: instance, metadata: {{name: i, namespace: {each}}},"
        f" spec: {{compiledTemplate: checknothing}}}}"
        for each in ("shop", "other")
    )
    legacy = (
        "{kind: denier, metadata: {name: d, namespace: shop}, spec: {}}\n---\n"
        "{kind: checknothing, metadata: {name: i, namespace: shop}, spec: {}}"
    )
    body = f"{{actions: [{{handler: {handler}, instances: [{instance}]}}]}}"
    rig = Rig(objects, legacy, rule(body, namespace=namespace))
    assert rig.problems == []
    assert list(rig.snapshot.handlers) == [found]


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        pytest.param("a.handler", "a.handler.handler", id="compiled-first"),
        pytest.param("a.handler.shop", "a.handler.shop", id="exactly"),
        pytest.param("d.o.t.s.handler.shop", "d.o.t.s.handler.shop", id="verbatim"),
        pytest.param("a.gone", "", id="neither"),
        pytest.param("d.o.t.s", "", id="no-such-name"),
    ],
)
def test_which_handler_a_reference_means(handler: str, found: str) -> None:
    """D2: of what one dot may mean, compiled handlers before dynamic ones; more dots are names."""
    dynamic = """
kind: template
metadata: {name: t, namespace: shop}
spec: {descriptor: DESCRIPTOR}
---
kind: adapter
metadata: {name: far, namespace: shop}
spec: {templates: [t]}
---
kind: handler
metadata: {name: a, namespace: shop}
spec: {adapter: far, connection: {address: "127.0.0.1:1"}}
---
kind: instance
metadata: {name: i, namespace: shop}
spec: {template: t}
---
""".replace("DESCRIPTOR", descriptor(template_file("greeter", CHECK, CHECK_RESULT)))
    compiled = "\n---\n".join(
        f"{{kind: handler, metadata: {{name: {name}, namespace: {namespace}}},"
        " spec: {compiledAdapter: noop}}"
        for name, namespace in (("a", "handler"), ("d.o.t.s", "shop"))
    )
    instances = "\n---\n{kind: checknothing, metadata: {name: n, namespace: shop}, spec: {}}"
    body = f"{{actions: [{{handler: {handler}, instances: [i, n.checknothing]}}]}}"
    texts = (dynamic, compiled, instances, rule(body, namespace="shop"))
    snapshot = compile_snapshot(
        entries(*texts), TEMPLATES, Rig().adapters, remote=lambda adapter, place: Rig
    )
    assert list(snapshot.handlers) == ([found] if found else [])


@pytest.mark.parametrize(
    ("adapter", "template"),
    [
        pytest.param("far", "t", id="short"),
        pytest.param("far.other", "t.other", id="namespace"),
        pytest.param("far.adapter", "t.template", id="kind"),
        pytest.param("far.adapter.other", "t.template.other", id="fqn"),
    ],
)
def test_references_of_handlers_adapters_and_instances(adapter: str, template: str) -> None:
    """D2: a handler's adapter, an instance's template and an adapter's templates."""
    described = descriptor(template_file("greeter", CHECK, CHECK_RESULT))
    objects = "\n---\n".join(
        f"""
kind: template
metadata: {{name: t, namespace: {namespace}}}
spec: {{descriptor: {described}}}
---
kind: adapter
metadata: {{name: far, namespace: {namespace}}}
spec: {{templates: [{template}]}}
"""
        for namespace in ("shop", "other")
    )
    use = f"""
---
kind: handler
metadata: {{name: h, namespace: shop}}
spec: {{adapter: {adapter}, connection: {{address: "127.0.0.1:1"}}}}
---
kind: instance
metadata: {{name: i, namespace: shop}}
spec: {{template: {template}}}
---
"""
    texts = (objects, use, rule("{actions: [{handler: h, instances: [i]}]}", namespace="shop"))
    asked = []

    def remote(found: DynamicAdapter, place: object) -> Callable[[HandlerConfig], Any]:
        asked.append(found)
        return lambda config: config

    snapshot = compile_snapshot(entries(*texts), TEMPLATES, {}, remote=remote)
    assert snapshot.problems == ()
    namespace = "other" if "other" in adapter else "shop"
    assert [each.fqn for each in asked] == [f"far.adapter.{namespace}"]
    (instance,) = snapshot.rules[0].actions[0].instances
    assert instance.template.name == f"t.template.{namespace}"
    assert list(asked[0].templates) == [f"t.template.{namespace}"]


def test_a_rule_may_say_how_it_is_sampled() -> None:
    """D3: that is accepted and has no effect."""
    body = """{sampling: {random: {percentSampled: {numerator: 0}}},
               actions: [{handler: deny, instances: [nothing]}]}"""
    rig = Rig(DENY, NOTHING, rule(body))
    assert rig.problems == []
    assert [rig.check().status.code for _ in range(3)] == [9, 9, 9]


@pytest.mark.parametrize("spelling", ["monitored_resource_type", "monitoredResourceType"])
def test_fields_of_params_in_either_spelling(spelling: str) -> None:
    """D6: snake_case and lowerCamelCase."""
    rig = Rig(
        MANIFEST,
        metric(f'{{value: "1", {spelling}: \'"pod"\'}}'),
        "{kind: handler, metadata: {name: n}, spec: {compiledAdapter: noop}}\n---\n",
        rule("{actions: [{handler: n, instances: [m]}]}"),
    )
    assert rig.problems == []
    (instance,) = rig.snapshot.rules[0].actions[0].instances
    assert instance.evaluate({}.get)["monitored_resource_type"] == "pod"


def test_legacy_objects_behave_as_the_new_ones() -> None:
    """D1, A25, L28: but for the name that clients see."""
    new = Rig(
        MANIFEST,
        "{kind: handler, metadata: {name: h}, spec: {compiledAdapter: listchecker,"
        " params: {overrides: [a]}}}",
        "{kind: instance, metadata: {name: i},"
        " spec: {compiledTemplate: listentry, params: {value: source.uid}}}",
        rule("{actions: [{handler: h, instances: [i]}]}"),
    )
    old = Rig(
        MANIFEST,
        "{kind: listchecker, metadata: {name: h}, spec: {overrides: [a]}}",
        "{kind: listentry, metadata: {name: i}, spec: {value: source.uid}}",
        rule("{actions: [{handler: h.listchecker, instances: [i.listentry]}]}"),
    )
    assert new.problems == old.problems == []
    for uid in ("a", "b"):
        one, two = new.check({"source.uid": uid}), old.check({"source.uid": uid})
        assert one.status.code == two.status.code
        assert one.referenced == two.referenced
    assert one.status.message == "h.istio-system:b is not whitelisted"
    assert two.status.message == "h.listchecker.istio-system:b is not whitelisted"


def test_legacy_generator_bindings() -> None:
    """D1, D4, L28."""
    rig = Rig(
        MANIFEST,
        "{kind: kubernetesenv, metadata: {name: h}, spec: {}}",
        "{kind: kubernetes, metadata: {name: i}, spec: {source_uid: source.uid,"
        " attribute_bindings: {source.namespace: '$out.source_namespace | \"none\"'}}}",
        rule("{actions: [{handler: h.kubernetesenv, instances: [i.kubernetes]}]}"),
    )
    assert rig.problems == []
    (route,) = rig.snapshot.rules
    assert list(route.actions[0].instances[0].bindings) == ["source.namespace"]


def test_manifests_are_united_and_the_last_wins() -> None:
    """D5."""
    second = """
kind: attributemanifest
metadata: {name: z, namespace: zzz}
spec: {attributes: {source.uid: {valueType: INT64}, my.own: {valueType: BOOL}}}
"""
    types = Rig(second, MANIFEST).snapshot.expressions.types
    assert types["source.uid"] is ValueType.INT64
    assert types["my.own"] is ValueType.BOOL
    assert types["response.code"] is ValueType.INT64
    assert "unspecified" not in types


def test_a_changed_manifest_is_used() -> None:
    """D5, D10: expressions are judged anew."""
    body = rule("{match: my.own, actions: [{handler: deny, instances: [nothing]}]}")
    manifest = (
        "{kind: attributemanifest, metadata: {name: m},"
        " spec: {attributes: {my.own: {valueType: %s}}}}"
    )
    rig = Rig(manifest % "STRING", DENY, NOTHING, body)
    assert len(rig.problems) == 1
    rig.configure(manifest % "BOOL", DENY, NOTHING, body)
    assert rig.problems == []
    assert rig.check({"my.own": True}).status.code == 9


def test_expressions_are_compiled_once_and_forgotten_when_unused() -> None:
    """D10: what is unchanged is taken over."""
    texts = (MANIFEST, DENY, NOTHING)
    matched = rule("{match: response.code == 5, actions: [{handler: deny, instances: [nothing]}]}")
    rig = Rig(*texts, matched)
    (first,) = rig.snapshot.rules
    rig.configure(*texts, matched)
    (second,) = rig.snapshot.rules
    assert second.match is first.match
    rig.configure(*texts)
    rig.configure(*texts)
    rig.configure(*texts, matched)
    (third,) = rig.snapshot.rules
    assert third.match is not first.match


@pytest.mark.parametrize("match", ["", "  ", "true", "TRUE"])
def test_a_match_that_is_always_true_is_not_evaluated(match: str) -> None:
    """A19."""
    body = f"{{match: '{match}', actions: [{{handler: deny, instances: [nothing]}}]}}"
    (found,) = Rig(DENY, NOTHING, rule(body)).snapshot.rules
    assert found.match is None


def test_a_handler_that_no_rule_uses_is_not_built() -> None:
    """D9."""
    assert Rig(DENY, NOTHING).snapshot.handlers == {}


def test_a_handler_that_does_not_validate_loses_its_actions() -> None:
    """D9: counted; the rest serves."""
    rig = Rig(
        MANIFEST,
        DENY,
        NOTHING,
        "{kind: handler, metadata: {name: q}, spec: {compiledAdapter: memquota}}",
        "{kind: instance, metadata: {name: quota},"
        " spec: {compiledTemplate: quota, params: {dimensions: {a: source.uid}}}}",
        rule(
            "{actions: [{handler: q, instances: [quota]}, {handler: deny, instances: [nothing]}]}"
        ),
    )
    assert rig.problems == [
        "q.handler.istio-system: params: "
        "did not find limit defined for quota quota.instance.istio-system"
    ]
    assert rig.snapshot.counts.handler_validation_errors == 1
    assert rig.check().status.code == 9


def test_handlers_get_the_types_of_their_instances() -> None:
    """D9."""
    rig = Rig(
        MANIFEST,
        "{kind: handler, metadata: {name: n}, spec: {compiledAdapter: noop}}",
        metric("{value: response.code, dimensions: {a: source.ip, b: 'source.labels[\"x\"]'}}"),
        "{kind: instance, metadata: {name: auth}, spec: {compiledTemplate: authorization,"
        " params: {subject: {user: source.uid, properties: {code: response.code}}}}}",
        rule("{actions: [{handler: n, instances: [m, auth]}]}"),
    )
    config = rig.snapshot.handlers["n.handler.istio-system"].config
    assert config.name == "n.istio-system"
    assert {each.name: each.types for each in config.instances} == {
        "m.instance.istio-system": {
            "value": ValueType.INT64,
            "dimensions[a]": ValueType.IP_ADDRESS,
            "dimensions[b]": ValueType.STRING,
        },
        "auth.instance.istio-system": {
            "subject.user": ValueType.STRING,
            "subject.properties[code]": ValueType.INT64,
        },
    }


def test_a_signature_changes_with_whatever_the_handler_depends_on() -> None:
    """D10."""

    def signature(params: str, dimension: str, instances: str = "m") -> object:
        rig = Rig(
            MANIFEST,
            f"{{kind: handler, metadata: {{name: n}},"
            f" spec: {{compiledAdapter: denier, params: {params}}}}}",
            f"{{kind: instance, metadata: {{name: m}},"
            f" spec: {{compiledTemplate: listentry, params: {{value: {dimension}}}}}}}",
            NOTHING,
            rule(f"{{actions: [{{handler: n, instances: [{instances}]}}]}}"),
        )
        return rig.snapshot.handlers["n.handler.istio-system"].signature

    same = signature("{}", "source.uid")
    assert signature("{}", "source.uid") == same
    assert signature("{valid_use_count: 5}", "source.uid") != same
    assert signature("{}", "source.ip") != same
    assert signature("{}", "source.uid", "m, nothing") != same


def test_unset_fields_have_their_zero_values() -> None:
    """D6, E26."""
    rig = Rig(
        "{kind: handler, metadata: {name: n}, spec: {compiledAdapter: noop}}",
        "{kind: instance, metadata: {name: t}, spec: {compiledTemplate: tracespan,"
        " params: {trace_id: '\"x\"'}}}",
        rule("{actions: [{handler: n, instances: [t]}]}"),
    )
    (compiled,) = rig.snapshot.rules[0].actions[0].instances
    fields = compiled.evaluate({}.get)
    assert fields["trace_id"] == "x"
    assert fields["span_name"] == ""
    assert fields["start_time"] is None
    assert fields["source_ip"] is None
    assert fields["httpStatusCode"] == 0
    assert fields["client_span"] is False
    assert fields["span_tags"] == {}


def test_templates_may_nest_records_in_maps() -> None:
    """D6."""
    inner = Record({"size": Scalar(ValueType.INT64), "name": Scalar(ValueType.STRING)})
    nested = Template("nested", Variety.CHECK, Record({"parts": MapOf(inner)}))
    text = (
        "{kind: instance, metadata: {name: i}, spec: {compiledTemplate: nested,"
        " params: {parts: {a: {size: response.code}, b: {name: '%s'}}}}}\n---\n"
    )
    use = "{kind: handler, metadata: {name: h}, spec: {compiledAdapter: script}}\n---\n" + rule(
        "{actions: [{handler: h, instances: [i]}]}"
    )
    adapter = replace(mixer_adapter.adapter(), templates=frozenset({"nested"}))
    rig = Rig(MANIFEST, text % '"x"', use, templates=[nested], extra=[adapter])
    assert rig.problems == []
    (compiled,) = rig.snapshot.rules[0].actions[0].instances
    assert compiled.evaluate({"response.code": 5}.get) == {
        "parts": {"a": {"size": 5, "name": ""}, "b": {"size": 0, "name": "x"}}
    }
    rig.configure(MANIFEST, text % "gone", use)
    assert rig.problems[0].startswith("i.instance.istio-system: parts[b].name: failed to evaluate")


def test_bindings_may_read_request_attributes_too() -> None:
    """D4, A13."""
    rig = Rig(
        MANIFEST,
        GENERATOR,
        "{kind: instance, metadata: {name: g}, spec: {compiledTemplate: kubernetes, params: {},"
        " attributeBindings: {source.namespace: '$out.source_namespace | source.uid | \"no\"'}}}"
        "\n---\n",
        rule("{actions: [{handler: env, instances: [g]}]}"),
        NOTHING,
        DENY,
        rule('{match: source.namespace == "x", actions: [{handler: deny, instances: [nothing]}]}',
             name="s"),
    )  # fmt: skip
    assert rig.problems == []
    assert rig.check({"source.uid": "x"}).status.code == 9
    assert rig.check({}).status.code == 0
