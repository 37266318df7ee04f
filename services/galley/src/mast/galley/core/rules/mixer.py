"""Mixer's rule, instance, handler, attributemanifest, template, adapter and legacy kinds (B4).

Differs from Istio: parameters of adapters and templates, and expressions
(``mixer_expressions``), are judged when written, not only when Mixer loads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict

from istio.mixer.adapter.bypass.config import config_pb2 as bypass
from istio.mixer.adapter.denier.config import config_pb2 as denier
from istio.mixer.adapter.fluentd.config import config_pb2 as fluentd
from istio.mixer.adapter.kubernetesenv.config import config_pb2 as kubernetesenv
from istio.mixer.adapter.list.config import config_pb2 as listchecker
from istio.mixer.adapter.memquota.config import config_pb2 as memquota
from istio.mixer.adapter.opa.config import config_pb2 as opa
from istio.mixer.adapter.prometheus.config import config_pb2 as prometheus
from istio.mixer.adapter.rbac.config import config_pb2 as rbac
from istio.mixer.adapter.redisquota.config import config_pb2 as redisquota
from istio.mixer.adapter.statsd.config import config_pb2 as statsd
from istio.mixer.adapter.stdio.config import config_pb2 as stdio
from istio.mixer.adapter.zipkin.config import config_pb2 as zipkin
from istio.mixer.template.apikey import template_pb2 as apikey
from istio.mixer.template.authorization import template_pb2 as authorization
from istio.mixer.template.checknothing import template_pb2 as checknothing
from istio.mixer.template.edge import template_pb2 as edge
from istio.mixer.template.kubernetes import template_pb2 as kubernetes
from istio.mixer.template.listentry import template_pb2 as listentry
from istio.mixer.template.logentry import template_pb2 as logentry
from istio.mixer.template.metric import template_pb2 as metric
from istio.mixer.template.quota import template_pb2 as quota
from istio.mixer.template.reportnothing import template_pb2 as reportnothing
from istio.mixer.template.tracespan import template_pb2 as tracespan
from mast.common.descriptors import BadDescriptor, described_params, described_template
from mast.common.kinds import LEGACY_ADAPTERS, LEGACY_TEMPLATES
from mast.galley.core.decode import decode
from mast.galley.core.documents import from_json
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import mixer_expressions as expressions
from mast.galley.core.rules import values
from mast.galley.core.rules.table import (
    SPEC,
    Family,
    exclusive,
    json_name,
    prefixed,
    required,
)
from mastapi.dogstatsd.v1 import dogstatsd_pb2 as dogstatsd
from mastapi.opentelemetry.v1 import opentelemetry_pb2 as opentelemetry

ADAPTERS: Mapping[str, Any] = {
    "bypass": bypass.Params,
    "denier": denier.Params,
    "dogstatsd": dogstatsd.Params,
    "etcdquota": memquota.Params,
    "fluentd": fluentd.Params,
    "kubernetesenv": kubernetesenv.Params,
    "listchecker": listchecker.Params,
    "memquota": memquota.Params,
    "opa": opa.Params,
    "opentelemetry": opentelemetry.Params,
    "prometheus": prometheus.Params,
    "rbac": rbac.Params,
    "redisquota": redisquota.Params,
    "statsd": statsd.Params,
    "stdio": stdio.Params,
    "zipkin": zipkin.Params,
}
# Vendor adapters of 1.0 to 1.4, and noop: known by name, their parameters are not.
OTHER_ADAPTERS = frozenset(
    {"circonus", "cloudwatch", "noop", "signalfx", "solarwinds", "stackdriver"}
)
TEMPLATES: Mapping[str, Any] = {
    "apikey": apikey.Template,
    "authorization": authorization.Template,
    "checknothing": checknothing.Template,
    "edge": edge.Template,
    "kubernetes": kubernetes.Template,
    "listentry": listentry.Template,
    "logentry": logentry.Template,
    "metric": metric.Template,
    "quota": quota.Template,
    "reportnothing": reportnothing.Template,
    "tracespan": tracespan.Template,
}

# Beside the fields of the template in objects of a legacy kind.
_BINDINGS = frozenset({"attribute_bindings", "attributeBindings"})


def _rule(obj: ConfigObject) -> Iterator[Finding]:
    spec = obj.spec
    if not (spec.actions or spec.request_header_operations or spec.response_header_operations):
        yield required((*SPEC, "actions"), "actions")
    names = [action.name for action in spec.actions]
    for index in values.duplicates(names):
        if names[index]:
            message = f"action {names[index]!r} is given twice"
            yield Finding((*SPEC, "actions", index, "name"), "duplicate", message)
    yield from expressions.match(obj, (*SPEC, "match"))
    for field in ("request_header_operations", "response_header_operations"):
        at = (*SPEC, json_name(spec, field))
        yield from expressions.header_values(obj, getattr(spec, field), at)


def _header_operation(operation: Any, at: Path) -> Iterator[Finding]:
    if operation.operation != operation.REMOVE and not operation.values:
        yield required((*at, "values"), "values")


def _handler(obj: ConfigObject) -> Iterator[Finding]:
    """A compiled adapter with parameters it understands, or an adapter resource and where it is."""
    spec = obj.spec
    yield from exclusive(spec, SPEC, "compiled_adapter", "adapter")
    if not spec.compiled_adapter and not spec.adapter:
        yield required((*SPEC, "compiledAdapter"), "compiledAdapter", "adapter")
    if spec.compiled_adapter:
        yield from adapter_params(
            spec.compiled_adapter, spec.params, (*SPEC, "compiledAdapter"), (*SPEC, "params")
        )
        if spec.HasField("connection"):
            message = "'connection' is only allowed with 'adapter'"
            yield Finding((*SPEC, "connection"), "not-allowed", message)
    elif spec.adapter:
        if not spec.connection.address:
            yield required((*SPEC, "connection", "address"), "address")
        yield from _authentication(spec.connection.authentication)


def _authentication(authentication: Any) -> Iterator[Finding]:
    """What Mixer shows to an adapter: a token, or its certificate (mixer.md G12)."""
    kind = authentication.WhichOneof("auth_type") or ""
    at: Path = (*SPEC, "connection", "authentication", kind)
    if kind == "tls" and authentication.tls.WhichOneof("token_source") is None:
        yield required((*at, "tokenPath"), "tokenPath", "oauth")
    if kind == "mutual":
        for name in ("private_key", "client_certificate"):
            if not getattr(authentication.mutual, name):
                field = json_name(authentication.mutual, name)
                yield required((*at, field), field)


def adapter_params(name: str, params: Any, name_at: Path, at: Path) -> Iterator[Finding]:
    """A known adapter, and parameters that decode into its message."""
    kind = ADAPTERS.get(name)
    if kind is not None:
        yield from decode(from_json(MessageToDict(params)), kind, at).findings
    elif name in OTHER_ADAPTERS:
        if name != "noop":
            message = f"adapter {name!r} is not built in: Mixer skips the handler"
            yield warning(name_at, "adapter", message)
    else:
        known = ", ".join(sorted({*ADAPTERS, *OTHER_ADAPTERS}))
        yield Finding(name_at, "adapter", f"adapter {name!r} is unknown; allowed: {known}")


def _instance(obj: ConfigObject) -> Iterator[Finding]:
    """A compiled template with the fields it has, or a template resource."""
    spec = obj.spec
    yield from exclusive(spec, SPEC, "compiled_template", "template")
    if not spec.compiled_template and not spec.template:
        yield required((*SPEC, "compiledTemplate"), "compiledTemplate", "template")
    if spec.compiled_template:
        template = TEMPLATES.get(spec.compiled_template)
        at = (*SPEC, "compiledTemplate")
        if template is None:
            message = f"template {spec.compiled_template!r} is unknown; allowed: " + ", ".join(
                TEMPLATES
            )
            yield Finding(at, "template", message)
        else:
            content, of = MessageToDict(spec.params), template.DESCRIPTOR
            yield from expressions.params(obj, content, of, (*SPEC, "params"))
            given, at = dict(spec.attribute_bindings), (*SPEC, "attributeBindings")
            yield from expressions.bindings(obj, given, of, at)


def _legacy(obj: ConfigObject) -> Iterator[Finding]:
    """A kind per adapter or template (1.0, 1.1): the specification is its parameters."""
    name = obj.kind.name
    if name in TEMPLATES:
        content, of = MessageToDict(obj.spec), TEMPLATES[name].DESCRIPTOR
        for key in _BINDINGS & content.keys():
            yield from expressions.bindings(obj, content.pop(key), of, (*SPEC, key))
        yield from expressions.params(obj, content, of, SPEC)
    else:
        yield from adapter_params(name, obj.spec, ("kind",), SPEC)


def _descriptor_resource(obj: ConfigObject) -> Iterator[Finding]:
    """A template resource: a base64 FileDescriptorSet that describes one."""
    text = _text(obj.spec, "descriptor")
    if not text:
        yield required((*SPEC, "descriptor"), "descriptor")
    else:
        yield from _described(described_template, text, (*SPEC, "descriptor"))
    yield from _known_keys(obj.spec, {"descriptor"})


def _adapter_resource(obj: ConfigObject) -> Iterator[Finding]:
    """An adapter resource: Info with its templates, and the FileDescriptorSet of its Params."""
    names = {"name", "description", "templates", "config", "session_based", "sessionBased"}
    yield from _known_keys(obj.spec, names)
    templates = obj.spec.fields["templates"].list_value if "templates" in obj.spec.fields else ()
    if not templates:
        yield required((*SPEC, "templates"), "templates")
    if config := _text(obj.spec, "config"):
        yield from _described(described_params, config, (*SPEC, "config"))


def _text(spec: Any, name: str) -> str:
    return str(spec.fields[name].string_value) if name in spec.fields else ""


def _described(read: Callable[[str], object], text: str, at: Path) -> Iterator[Finding]:
    """A descriptor that Mixer can use (mixer.md G10)."""
    try:
        read(text)
    except BadDescriptor as error:
        yield Finding(at, "descriptor", str(error))


def _known_keys(spec: Any, names: set[str]) -> Iterator[Finding]:
    for key in spec.fields:
        if key not in names:
            message = f"unknown field {key!r}; allowed: {', '.join(sorted(names))}"
            yield Finding((*SPEC, key), "unknown-field", message)


def _connection_address(text: str) -> str | None:
    if text.startswith("unix:"):
        return None
    host, colon, port = text.rpartition(":")
    number = values.digits(port)
    if colon and number is not None and host:
        return values.port(number)
    return f"{text!r} must be host:port or unix:///path"


FAMILY = Family(
    fields=prefixed(
        "istio.policy.v1beta1",
        {
            "Connection.address": ("address", _connection_address),
            "Action.instances": ("empty", values.nonempty),
            "Rule.HeaderOperationTemplate.name": ("header", values.token),
        },
    ),
    messages={"istio.policy.v1beta1.Rule.HeaderOperationTemplate": _header_operation},
    objects={
        "rule": _rule,
        "handler": _handler,
        "instance": _instance,
        "template": _descriptor_resource,
        "adapter": _adapter_resource,
        **dict.fromkeys({*LEGACY_ADAPTERS, *LEGACY_TEMPLATES}, _legacy),
    },
    # The object's name serves; the compiled forms and the resources are alternatives.
    optional=frozenset(
        f"istio.policy.v1beta1.{name}"
        for name in (
            "AttributeManifest.name",
            "Handler.name",
            "Handler.compiled_adapter",
            "Instance.name",
            "Instance.params",
            "Instance.compiled_template",
        )
    ),
)
