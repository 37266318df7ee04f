"""Mixer's kinds: accepted, rejected and warned of (B4)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import base64

import pytest

from tests.support.galley_rules import found

DESCRIPTOR = base64.b64encode(b"descriptor").decode()


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        pytest.param("rule", "{match: 'true', actions: [{handler: h, instances: [i]}]}", [],
                     id="rule"),
        pytest.param("rule", "{match: 'true'}", ["error spec.actions required"],
                     id="rule-without-actions"),
        pytest.param("rule", "{actions: [{instances: ['']}]}",
                     ["error spec.actions[0].handler required",
                      "error spec.actions[0].instances[0] empty"], id="empty-action"),
        pytest.param("rule", "{actions: [{handler: h}]}",
                     ["error spec.actions[0].instances required"], id="action-of-nothing"),
        pytest.param("rule", "{actions: [{handler: h, instances: [i], name: a},"
                     " {handler: h, instances: [i], name: a}]}",
                     ["error spec.actions[1].name duplicate"], id="action-name-twice"),
        pytest.param("rule", "{actions: [{handler: h, instances: [i]},"
                     " {handler: h, instances: [j]}]}", [], id="actions-without-name"),
        pytest.param("rule", "{requestHeaderOperations: [{name: x, values: [a]},"
                     " {name: y, operation: REMOVE}]}", [], id="header-operations"),
        pytest.param("rule", "{requestHeaderOperations: [{name: 'a b'}]}",
                     ["error spec.requestHeaderOperations[0].name header",
                      "error spec.requestHeaderOperations[0].values required"],
                     id="bad-header-operation"),
        pytest.param("handler", "{compiledAdapter: stdio, params: {outputAsJson: true,"
                     " output_level: 1}}", [], id="handler"),
        pytest.param("handler", "{}", ["error spec.compiledAdapter required"],
                     id="handler-of-nothing"),
        pytest.param("handler", "{compiledAdapter: stdout}", ["error spec.compiledAdapter adapter"],
                     id="unknown-adapter"),
        pytest.param("handler", "{compiledAdapter: signalfx, params: {a: b}}",
                     ["warning spec.compiledAdapter adapter"], id="vendor-adapter"),
        pytest.param("handler", "{compiledAdapter: noop}", [], id="noop"),
        pytest.param("handler", "{compiledAdapter: memquota, params: {quotas: [{name: a,"
                     " maxAmount: many, validDuration: 1s}], quotes: []}}",
                     ["error spec.params.quotas[0].maxAmount wrong-type",
                      "error spec.params.quotes unknown-field"], id="params"),
        pytest.param("handler", "{compiledAdapter: stdio, connection: {address: 'a:1'}}",
                     ["error spec.connection not-allowed"], id="compiled-with-connection"),
        pytest.param("handler", "{adapter: a, connection: {address: 'host:1'}}", [],
                     id="out-of-process"),
        pytest.param("handler", "{adapter: a}", ["error spec.connection.address required"],
                     id="no-address"),
        pytest.param("handler", "{adapter: a, connection: {address: host}}",
                     ["error spec.connection.address address"], id="address-without-port"),
        pytest.param("handler", "{adapter: a, connection: {address: 'host:70000'}}",
                     ["error spec.connection.address address"], id="bad-address"),
        pytest.param("handler", "{adapter: a, compiledAdapter: stdio,"
                     " connection: {address: 'unix:///a'}}",
                     ["error spec.adapter one-of", "error spec.connection not-allowed"],
                     id="both-adapters"),
        pytest.param("instance", "{compiledTemplate: metric, params: {value: '1', dimensions:"
                     " {a: source.name | \"x\", b: 5}}}", [], id="instance"),
        pytest.param("instance", "{compiledTemplate: authorization, params: {subject: {user: a,"
                     " properties: {b: c}}}}", [], id="nested-template"),
        pytest.param("instance", "{}", ["error spec.compiledTemplate required"],
                     id="instance-of-nothing"),
        pytest.param("instance", "{compiledTemplate: metrics}",
                     ["error spec.compiledTemplate template"], id="unknown-template"),
        pytest.param("instance", "{compiledTemplate: metric, template: t}",
                     ["error spec.template one-of"], id="both-templates"),
        pytest.param("instance", "{compiledTemplate: metric, params: {valeu: '1', value: [],"
                     " dimensions: 5, monitored_resource_dimensions: {a: {}, b: ''}}}",
                     ["error spec.params.dimensions wrong-type",
                      "error spec.params.monitored_resource_dimensions.a wrong-type",
                      "error spec.params.monitored_resource_dimensions.b expression",
                      "error spec.params.valeu unknown-field",
                      "error spec.params.value wrong-type"], id="instance-params"),
        pytest.param("instance", "{compiledTemplate: authorization, params: {subject: 5}}",
                     ["error spec.params.subject wrong-type"], id="nested-not-object"),
        pytest.param("attributemanifest", "{attributes: {a.b: {valueType: STRING}}}", [],
                     id="manifest"),
        pytest.param("attributemanifest", "{attributes: {a: {}}}",
                     ["error spec.attributes.a.valueType required"], id="manifest-type"),
        pytest.param("template", "{descriptor: %s}" % DESCRIPTOR, [], id="template"),
        pytest.param("template", "{descriptor: '!', other: 1}",
                     ["error spec.descriptor wrong-type", "error spec.other unknown-field"],
                     id="bad-template"),
        pytest.param("template", "{}", ["error spec.descriptor required"], id="empty-template"),
        pytest.param("adapter", "{templates: [a], config: %s, session_based: false}" % DESCRIPTOR,
                     [], id="adapter"),
        pytest.param("adapter", "{templates: [a]}", [], id="adapter-without-config"),
        pytest.param("adapter", "{config: '!'}",
                     ["error spec.config wrong-type", "error spec.templates required"],
                     id="bad-adapter"),
        pytest.param("metric", "{value: '1', dimensions: {a: b}}", [], id="legacy-metric"),
        pytest.param("metric", "{values: '1'}", ["error spec.values unknown-field"],
                     id="bad-legacy-metric"),
        pytest.param("stdio", "{outputAsJson: true}", [], id="legacy-stdio"),
        pytest.param("memquota", "{quotas: 5}", ["error spec.quotas wrong-type"],
                     id="bad-legacy-memquota"),
        pytest.param("solarwinds", "{a: b}", ["warning kind adapter"], id="legacy-vendor"),
    ],
)  # fmt: skip
def test_mixer(kind: str, spec: str, expected: list[str]) -> None:
    assert sorted(found(f"config.istio.io/{kind}", spec)) == sorted(expected)
