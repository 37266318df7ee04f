"""Templates and adapters that objects describe (mixer.md D4, D8, G10, G11)."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from hypothesis import given
from hypothesis import strategies as st

from istio.mixer.adapter.model.v1beta1 import extensions_pb2
from istio.mixer.template.authorization import template_handler_service_pb2 as authorization
from istio.mixer.template.logentry import template_handler_service_pb2 as logentry
from istio.mixer.template.metric import template_handler_service_pb2 as metric
from istio.policy.v1beta1 import cfg_pb2
from mast.common.expressions.types import ValueType
from mast.mixer.core.adapter import HandlerConfig
from mast.mixer.core.config.snapshot import Snapshot, compile_snapshot
from mast.mixer.core.dynamic import (
    BadDescriptor,
    DynamicAdapter,
    compiled_service,
    dynamic_template,
    params_message,
)
from mast.mixer.core.messages import fill, read
from mast.mixer.core.templates import TEMPLATES, Variety
from mast.mixer.core.values import Duration, Timestamp
from tests.support.mixer_config import entries
from tests.support.remote_adapter import descriptor, params_file, template_file

CHECK = extensions_pb2.TEMPLATE_VARIETY_CHECK
GENERATOR = extensions_pb2.TEMPLATE_VARIETY_ATTRIBUTE_GENERATOR
WITH_OUTPUT = extensions_pb2.TEMPLATE_VARIETY_CHECK_WITH_OUTPUT
CHECK_RESULT = "istio.mixer.adapter.model.v1beta1.CheckResult"
OUTPUTS = {
    "greeting": ValueType.STRING,
    "length": ValueType.INT64,
    "address": ValueType.IP_ADDRESS,
}


@pytest.mark.parametrize(
    ("module", "name"),
    [(metric, "metric"), (authorization, "authorization"), (logentry, "logentry")],
)
def test_compiled_templates_described(module: Any, name: str) -> None:
    found = dynamic_template("t.template.ns", descriptor(module.DESCRIPTOR))
    assert found.template.variety is TEMPLATES[name].variety
    assert found.template.shape == TEMPLATES[name].shape
    assert found.service.path == compiled_service(module).path


@pytest.mark.parametrize(
    ("variety", "answer", "outputs"),
    [(CHECK, CHECK_RESULT, {}), (GENERATOR, "OutputMsg", OUTPUTS), (WITH_OUTPUT, "", OUTPUTS)],
)
def test_outputs(variety: int, answer: str, outputs: dict[str, ValueType]) -> None:
    file = template_file("greeter", variety, answer)
    found = dynamic_template("t.template.ns", descriptor(file))
    assert found.template.variety is Variety(variety)
    assert found.template.outputs == outputs
    assert set(found.template.shape.fields) == {"who", "size", "any"}
    assert found.service.path == "/greeter.HandleGreetingService/HandleGreeting"


def edited(change: Any) -> str:
    file = template_file("greeter", CHECK, CHECK_RESULT)
    change(file)
    return descriptor(file)


def _field(file: FileDescriptorProto, **described: Any) -> None:
    file.message_type[0].field.add(name="more", number=9, **{"label": 1, **described})


def nested_imports(depth: int) -> str:
    files = [
        FileDescriptorProto(name=f"{n}.proto", dependency=[f"{n + 1}.proto"], syntax="proto3")
        for n in range(depth)
    ]
    files.append(FileDescriptorProto(name=f"{depth}.proto", syntax="proto3"))
    files[0].options.Extensions[extensions_pb2.template_variety] = CHECK  # type: ignore[index]
    files[0].options.Extensions[extensions_pb2.template_name] = "deep"  # type: ignore[index]
    return base64.b64encode(FileDescriptorSet(file=files).SerializeToString()).decode()


def test_a_descriptor_may_be_broken_into_lines() -> None:
    text = "\n".join(re.findall(".{1,76}", edited(lambda _: None)))
    assert dynamic_template("t", text).template.variety is Variety.CHECK


@given(st.binary(max_size=200))
def test_noise_describes_nothing(raw: bytes) -> None:
    for described in (lambda text: dynamic_template("t", text), params_message):
        with suppress(BadDescriptor):
            described(base64.b64encode(raw).decode())


def test_imports_that_everybody_has_may_be_left_out() -> None:
    file = template_file("greeter", CHECK, CHECK_RESULT)
    alone = base64.b64encode(FileDescriptorSet(file=[file]).SerializeToString()).decode()
    assert dynamic_template("t", alone).template.variety is Variety.CHECK


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "unable to parse descriptor: it has no files"),
        ("!", "unable to parse descriptor"),
        (base64.b64encode(b"\xff\xff").decode(), "unable to parse descriptor"),
        (descriptor(params_file()), "unable to find template: 0 files have a variety"),
        (
            edited(lambda f: f.options.ClearExtension(extensions_pb2.template_name)),
            "name '' is not letters only",
        ),
        (edited(lambda f: f.service.pop()), "want one service Handle... with one method"),
        (edited(lambda f: f.message_type[2].field.pop(0)), "HandleRequest has no instance"),
        (edited(lambda f: f.dependency.append("gone.proto")), "import gone.proto is missing"),
        (edited(lambda f: f.dependency.append(f.name)), "imports itself"),
        (edited(lambda f: f.message_type.pop(0)), "unable to parse descriptor"),
        (edited(lambda f: _field(f, type=4)), "InstanceMsg.more is no string, int64, double, bool"),
        (edited(lambda f: _field(f, type=9, label=3)), "InstanceMsg.more is no string"),
        (
            edited(lambda f: _field(f, type=11, type_name=".greeter.InstanceMsg")),
            "has more than 256 fields, or itself as a field",
        ),
        (nested_imports(40), "more than 32 imports deep"),
        (descriptor(template_file("greeter", WITH_OUTPUT, CHECK_RESULT)), "has no output"),
    ],
)
def test_what_describes_no_template(text: str, complaint: str) -> None:
    with pytest.raises(BadDescriptor, match=complaint):
        dynamic_template("t", text)


def test_params() -> None:
    found = params_message(descriptor(params_file()))
    assert found is not None
    assert found.DESCRIPTOR.full_name == "sample.config.Params"
    assert params_message("") is None
    with pytest.raises(BadDescriptor, match="unable to find message Params"):
        params_message(descriptor(FileDescriptorProto(name="x.proto", syntax="proto3")))


def test_values_become_fields_and_come_back() -> None:
    message = compiled_service(logentry).request().instances.add()  # type: ignore[attr-defined]
    variables = {
        "s": "text",
        "n": 5,
        "f": 1.5,
        "b": True,
        "ip": b"\x0a\0\0\x01",
        "at": Timestamp(1_500_000_000),
        "took": Duration(-1_500_000_000),
        "m": {"k": "v"},
        "uri": "http://x/",
        "host": "x",
        "mail": "a@b.c",
        "none": None,
    }
    types = {
        "variables[uri]": ValueType.URI,
        "variables[host]": ValueType.DNS_NAME,
        "variables[mail]": ValueType.EMAIL_ADDRESS,
    }
    fields = {"severity": "warn", "timestamp": Timestamp(7), "variables": variables}
    fill(message, fields, types)
    assert message.severity == "warn"
    assert message.timestamp.value.ToNanoseconds() == 7
    kinds = {name: value.WhichOneof("value") for name, value in message.variables.items()}
    assert kinds == {
        "s": "string_value",
        "n": "int64_value",
        "f": "double_value",
        "b": "bool_value",
        "ip": "ip_address_value",
        "at": "timestamp_value",
        "took": "duration_value",
        "m": "string_map_value",
        "uri": "uri_value",
        "host": "dns_name_value",
        "mail": "email_address_value",
        "none": None,
    }
    for name, value in message.variables.items():
        assert read(value) == ({} if name == "none" else {kinds[name]: variables[name]})


OBJECTS = """
kind: attributemanifest
metadata: {name: m, namespace: istio-system}
spec:
  attributes:
    source.user: {valueType: STRING}
    request.size: {valueType: INT64}
    greeting: {valueType: STRING}
---
kind: template
metadata: {name: greeter, namespace: istio-system}
spec: {descriptor: DESCRIPTOR}
---
kind: adapter
metadata: {name: hello, namespace: istio-system}
spec: {templates: [greeter], config: CONFIG, session_based: false}
---
kind: handler
metadata: {name: h, namespace: shop}
spec:
  adapter: hello.istio-system
  connection: {address: "127.0.0.1:1"}
  params: {mood: good}
---
kind: instance
metadata: {name: i, namespace: shop}
spec:
  template: greeter.template.istio-system
  params: {who: source.user | "nobody", size: request.size, any: request.size}
  attributeBindings: BINDINGS
---
kind: rule
metadata: {name: r, namespace: shop}
spec: {actions: [{handler: h, instances: [i]}]}
"""


def snapshot(**changes: str) -> Snapshot:
    values = {
        "DESCRIPTOR": descriptor(template_file("greeter", GENERATOR, "OutputMsg")),
        "CONFIG": descriptor(params_file()),
        "BINDINGS": "{greeting: output.greeting}",
        **changes,
    }
    text = OBJECTS
    for name, value in values.items():
        text = text.replace(name, value)

    def remote(adapter: DynamicAdapter, connection: cfg_pb2.Connection) -> Any:
        assert adapter.fqn == "hello.adapter.istio-system"
        assert connection.address
        return lambda config: config

    return compile_snapshot(entries(text), TEMPLATES, {}, remote=remote)


def test_objects() -> None:
    found = snapshot()
    assert not found.problems
    used = found.handlers["h.handler.shop"]
    assert used.config.name == "h.handler.shop"
    built: Any = used.handler.adapter.build(used.config)
    assert isinstance(built, HandlerConfig)
    assert built.params.mood == "good"
    (instance,) = built.instances
    assert instance.types["any"] is ValueType.INT64
    counts = found.counts
    assert (counts.templates, counts.adapters) == (1, 1)
    assert (counts.template_errors, counts.adapter_errors) == (0, 0)


def test_the_descriptors_and_the_place_make_another_handler() -> None:
    signature = snapshot().handlers["h.handler.shop"].signature
    assert snapshot().handlers["h.handler.shop"].signature == signature
    moved = snapshot(**{"127.0.0.1:1": "127.0.0.1:2"})
    assert moved.handlers["h.handler.shop"].signature != signature
    other = snapshot(**{"session_based: false": "session_based: true"})
    assert other.handlers["h.handler.shop"].signature != signature


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"DESCRIPTOR": "'!'"},
            "greeter.template.istio-system: descriptor: unable to parse descriptor",
        ),
        ({"CONFIG": "'!'"}, "hello.adapter.istio-system: config: unable to parse descriptor"),
        (
            {"[greeter]": "[gone]"},
            "hello.adapter.istio-system: templates[0]: template 'gone' not f",
        ),
        (
            {"adapter: hello.istio-system": "adapter: gone"},
            "h.handler.shop: adapter 'gone' not fou",
        ),
        ({"127.0.0.1:1": ""}, "h.handler.shop: connection.address: must not be empty"),
        ({"mood: good": "typo: 1"}, "h.handler.shop: params: params do not fit adapter"),
        ({"greeter.template.istio-system": "gone"}, "i.instance.shop: template 'gone' not found"),
        ({"who: source": "whom: source"}, 'i.instance.shop: whom: unknown field "whom"'),
        ({"size: request.size,": "size: source.user,"}, "i.instance.shop: size: error type check"),
        (
            {"BINDINGS": "{gone: output.greeting}"},
            "i.instance.shop: attribute_bindings[gone]: error evaluating AttributeBinding",
        ),
        (
            {"BINDINGS": "{greeting: output.length}"},
            "i.instance.shop: attribute_bindings[greeting]: error type checking",
        ),
        (
            {"BINDINGS": "{greeting: output.gone}"},
            "i.instance.shop: attribute_bindings[greeting]: error evaluating",
        ),
    ],
)
def test_problems(changes: dict[str, str], problem: str) -> None:
    assert any(str(each).startswith(problem) for each in snapshot(**changes).problems)


def test_a_bad_binding_of_a_dynamic_template_is_left_out_only() -> None:
    found = snapshot(BINDINGS="{gone: output.greeting, greeting: output.greeting}")
    (rule,) = found.rules
    (instance,) = rule.actions[0].instances
    assert set(instance.bindings) == {"greeting"}
    assert instance.bind({"output.greeting": "hi"}.get) == {"greeting": "hi"}
    assert not any(each.name.startswith("output.") for each in instance.reads)
