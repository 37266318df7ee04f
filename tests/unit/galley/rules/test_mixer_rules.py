"""Mixer's kinds: accepted, rejected and warned of (B4)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from istio.mixer.adapter.model.v1beta1 import extensions_pb2
from istio.mixer.template.metric import template_handler_service_pb2 as metric
from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text
from tests.support.galley_rules import found
from tests.support.remote_adapter import descriptor, params_file, template_file

TEMPLATE = descriptor(metric.DESCRIPTOR)
CONFIG = descriptor(params_file())


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
        pytest.param("rule", "{requestHeaderOperations: [{name: x, values: ['\"a\"']},"
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
        pytest.param("handler", "{adapter: a, connection: {address: 'h:1', authentication: {tls:"
                     " {tokenPath: /t}}}}", [], id="token"),
        pytest.param("handler", "{adapter: a, connection: {address: 'h:1', authentication: {tls:"
                     " {caCertificates: /ca}}}}",
                     ["error spec.connection.authentication.tls.tokenPath required"],
                     id="no-token"),
        pytest.param("handler", "{adapter: a, connection: {address: 'h:1', authentication: {tls:"
                     " {oauth: {clientId: a}}}}}",
                     ["error spec.connection.authentication.tls.oauth.clientSecret required",
                      "error spec.connection.authentication.tls.oauth.tokenUrl required"],
                     id="no-secret"),
        pytest.param("handler", "{adapter: a, connection: {address: 'h:1', authentication: {mutual:"
                     " {privateKey: /k}}}}",
                     ["error spec.connection.authentication.mutual.clientCertificate required"],
                     id="no-certificate"),
        pytest.param("handler", "{adapter: a, compiledAdapter: stdio,"
                     " connection: {address: 'unix:///a'}}",
                     ["error spec.adapter one-of", "error spec.connection not-allowed"],
                     id="both-adapters"),
        pytest.param("instance", "{compiledTemplate: metric, params: {value: '1', dimensions:"
                     " {a: source.name | \"x\", b: '5'}}}", [], id="instance"),
        pytest.param("instance", "{compiledTemplate: metric, params: {value: 1, dimensions:"
                     " {a: true}}}",
                     ["error spec.params.dimensions.a wrong-type",
                      "error spec.params.value wrong-type"], id="no-text"),
        pytest.param("instance", "{compiledTemplate: authorization, params: {subject: {user:"
                     " source.user, properties: {b: source.name}}}}", [], id="nested-template"),
        pytest.param("instance", "{compiledTemplate: authorization, params: {subject: {groups: ''},"
                     " action: {path: ''}}}", [], id="unset-fields"),
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
        pytest.param("template", "{descriptor: %s}" % TEMPLATE, [], id="template"),
        pytest.param("template", "{descriptor: %s}" % CONFIG, ["error spec.descriptor descriptor"],
                     id="template-without-variety"),
        pytest.param("template", "{descriptor: '!', other: 1}",
                     ["error spec.descriptor descriptor", "error spec.other unknown-field"],
                     id="bad-template"),
        pytest.param("template", "{}", ["error spec.descriptor required"], id="empty-template"),
        pytest.param("adapter", "{templates: [a], config: %s, session_based: false}" % CONFIG,
                     [], id="adapter"),
        pytest.param("adapter", "{templates: [a]}", [], id="adapter-without-config"),
        pytest.param("adapter", "{templates: [a], config: %s}" % TEMPLATE,
                     ["error spec.config descriptor"], id="adapter-without-params"),
        pytest.param("adapter", "{config: '!'}",
                     ["error spec.config descriptor", "error spec.templates required"],
                     id="bad-adapter"),
        pytest.param("metric", "{value: '1', dimensions: {a: source.ip}}", [], id="legacy-metric"),
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


CHECK = extensions_pb2.TEMPLATE_VARIETY_CHECK
RESULT = "istio.mixer.adapter.model.v1beta1.CheckResult"


def edited(change: Callable[[FileDescriptorProto], object]) -> str:
    file = template_file("greeter", CHECK, RESULT)
    change(file)
    return descriptor(file)


def with_field(**described: object) -> str:
    def change(file: FileDescriptorProto) -> None:
        file.message_type[0].field.add(name="more", number=9, **described)  # type: ignore[arg-type]

    return edited(change)


F = FieldDescriptorProto


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(edited(lambda _: None), "", id="fine"),
        pytest.param(edited(lambda f: f.service.pop()), "want one service Handle", id="no-service"),
        pytest.param(edited(lambda f: f.dependency.append("gone.proto")),
                     "import gone.proto is missing", id="import"),
        pytest.param(with_field(type=F.TYPE_UINT32, label=F.LABEL_OPTIONAL),
                     "InstanceMsg.more is no string, int64, double, bool, message or map",
                     id="type-that-no-expression-has"),
        pytest.param(with_field(type=F.TYPE_STRING, label=F.LABEL_REPEATED),
                     "InstanceMsg.more is no string", id="list"),
        pytest.param(with_field(type=F.TYPE_MESSAGE, label=F.LABEL_OPTIONAL,
                                type_name=".greeter.InstanceMsg"),
                     "InstanceMsg has more than 256 fields, or itself as a field", id="itself"),
        pytest.param("\n".join(edited(lambda _: None)), "", id="line-ends"),
    ],
)  # fmt: skip
def test_descriptors_are_read_as_mixer_reads_them(text: str, complaint: str) -> None:
    """What Mixer would tell of (mixer.md D7, G10) is told when they are written."""
    document = {
        "apiVersion": "config.istio.io/v1alpha2",
        "kind": "template",
        "metadata": {"name": "t", "namespace": "shop"},
        "spec": {"descriptor": text},
    }
    problems = judge(read_text(json.dumps(document), "test.yaml", Defaults())).problems
    assert [complaint in each.message for each in problems] == [True] * bool(complaint)
