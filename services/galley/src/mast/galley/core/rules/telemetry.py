"""Telemetry, WasmPlugin, TrafficExtension (B3)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import common, programs, values
from mast.galley.core.rules.table import SPEC, Family, prefixed, required, when

LUA_LIMIT = 64 << 10

# Variables by which Pilot tells the agent how to fetch a module.
_AGENTS = "ISTIO_META_WASM_"
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_TO_TEXT = re.compile(r"\s*string\((.*)\)\s*", re.DOTALL)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SCHEMES = frozenset({"", "file", "http", "https", "oci"})


def _telemetry(obj: ConfigObject) -> Iterator[Finding]:
    yield from common.attachment(obj)
    if len(obj.spec.tracing) > 1:
        message = "only the first tracing setting is used"
        yield warning((*SPEC, "tracing"), "unused", message)


def _tracing(tracing: Any, at: Path) -> Iterator[Finding]:
    yield from _tags(tracing, at)
    if len(tracing.providers) > 1:
        message = "only the first tracing provider is used"
        yield warning((*at, "providers"), "unused", message)


def _tag(tag: Any, at: Path) -> Iterator[Finding]:
    if tag.WhichOneof("type") is None:
        yield required(at, "literal", "environment", "header", "formatter")


def _overrides(overrides: Any, at: Path) -> Iterator[Finding]:
    """Labels as Prometheus has them; those of histograms are not for others."""
    for name in overrides.tag_overrides:
        if name == "le" or name.startswith("__") or not _LABEL.fullmatch(name):
            message = f"{name!r} is not the name of a label"
            yield Finding((*at, "tagOverrides", name), "label", message)


def _tags(tracing: Any, at: Path) -> Iterator[Finding]:
    if "" in tracing.custom_tags:
        yield Finding((*at, "customTags"), "empty", "a tag needs a name")


def _tag_override(override: Any, at: Path) -> Iterator[Finding]:
    if override.operation == override.UPSERT and not override.value:
        yield required((*at, "value"), "value")
    if override.operation == override.REMOVE and override.value:
        message = "'value' is not allowed with operation REMOVE"
        yield Finding((*at, "value"), "not-allowed", message)


def _wasm_plugin(obj: ConfigObject) -> Iterator[Finding]:
    yield from common.attachment(obj)


def _traffic_extension(obj: ConfigObject) -> Iterator[Finding]:
    yield from common.attachment(obj)
    if obj.spec.WhichOneof("filter_config") is None:
        yield required(SPEC, "wasm", "lua")


def _vm(config: Any, at: Path) -> Iterator[Finding]:
    names = [variable.name for variable in config.env]
    for index in values.duplicates(names):
        message = f"variable {names[index]!r} is given twice"
        yield Finding((*at, "env", index, "name"), "duplicate", message)
    for index, variable in enumerate(config.env):
        if variable.name.startswith(_AGENTS):
            message = f"{variable.name!r} is for the agent; allowed: other names"
            yield Finding((*at, "env", index, "name"), "not-allowed", message)
        if variable.value_from == 1 and variable.value:
            message = "'value' is not allowed with valueFrom HOST"
            yield Finding((*at, "env", index, "value"), "not-allowed", message)


def _module(plugin: Any, at: Path) -> Iterator[Finding]:
    if plugin.url:
        yield from when(_module_url(plugin.url), (*at, "url"), "url")
    if plugin.sha256 and not _SHA256.fullmatch(plugin.sha256):
        message = f"{plugin.sha256!r} must be 64 lower case hexadecimal digits"
        yield Finding((*at, "sha256"), "sha256", message)


def _tag_value(text: str) -> str | None:
    """An expression whose value becomes text by itself: Pilot takes off a ``string(...)``."""
    inside = _TO_TEXT.fullmatch(text)
    return programs.inline_expression(inside[1] if inside else text)


def _variable(name: str) -> str | None:
    return None if name and "=" not in name and "\0" not in name else f"{name!r} is no variable"


def _metric(name: str) -> str | None:
    return None if _METRIC.fullmatch(name) else f"{name!r} is not the name of a metric"


def _module_url(text: str) -> str | None:
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme in _SCHEMES:
        return None
    return f"{text!r}: allowed: file://, http://, https://, oci:// or none for oci"


def _lua(code: str) -> str | None:
    size = len(code.encode())
    if size > LUA_LIMIT:
        return f"code has {size} bytes; allowed: {LUA_LIMIT}"
    return programs.lua(code)


_TELEMETRY = "istio.telemetry.v1alpha1"
_EXTENSIONS = "istio.extensions.v1alpha1"

FAMILY = Family(
    fields={
        **prefixed(
            _TELEMETRY,
            {
                "Tracing.random_sampling_percentage": ("percentage", values.percent),
                "Tracing.RequestHeader.name": ("header-name", values.token),
                "Tracing.Environment.name": ("variable", _variable),
                "MetricSelector.custom_metric": ("metric", _metric),
                "AccessLogging.Filter.expression": ("expression", programs.expression),
                "MetricsOverrides.TagOverride.value": ("expression", _tag_value),
            },
        ),
        **prefixed(
            _EXTENSIONS,
            {
                "WasmPlugin.plugin_name": ("too-long", values.at_most(256)),
                "WasmPlugin.image_pull_secret": ("too-long", values.at_most(253)),
                "WasmConfig.plugin_name": ("too-long", values.at_most(256)),
                "WasmConfig.image_pull_secret": ("too-long", values.at_most(253)),
                "LuaConfig.inline_code": ("lua", _lua),
            },
        ),
    },
    messages={
        **prefixed(
            _TELEMETRY,
            {
                "Tracing": _tracing,
                "Tracing.CustomTag": _tag,
                "MetricsOverrides": _overrides,
                "MetricsOverrides.TagOverride": _tag_override,
            },
        ),
        **prefixed(
            _EXTENSIONS,
            {"VmConfig": _vm, "WasmPlugin": _module, "WasmConfig": _module},
        ),
    },
    objects={
        "Telemetry": _telemetry,
        "WasmPlugin": _wasm_plugin,
        "TrafficExtension": _traffic_extension,
    },
    unsupported={
        **prefixed(
            _EXTENSIONS,
            dict.fromkeys(
                ("WasmPlugin.verification_key", "WasmConfig.verification_key"),
                "signatures are not verified; pin the module with sha256",
            ),
        ),
        f"{_TELEMETRY}.Tracing.disable_context_propagation": (
            "Envoy passes trace headers on; leave tracing out to keep what applications send"
        ),
    },
    without_effect={f"{_TELEMETRY}.Metrics.providers": "metrics come from Mixer"},
    # An empty literal is a tag with an empty value.
    optional=frozenset({f"{_TELEMETRY}.Tracing.Literal.value"}),
)
