"""Telemetry and extensions: accepted, rejected and warned of (B3)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import pytest

from tests.support.galley_rules import found


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{tracing: [{randomSamplingPercentage: 100}]}", [], id="sampling"),
        pytest.param("{tracing: [{randomSamplingPercentage: 100.5}]}",
                     ["error spec.tracing[0].randomSamplingPercentage percentage"],
                     id="oversampling"),
        pytest.param("{tracing: [{}, {}]}", ["warning spec.tracing unused"], id="two-tracings"),
        pytest.param("{tracing: [{providers: [{name: a}, {name: b}]}]}",
                     ["warning spec.tracing[0].providers unused"], id="two-providers"),
        pytest.param("{tracing: [{providers: [{}]}]}",
                     ["error spec.tracing[0].providers[0].name required"], id="provider-name"),
        pytest.param("{tracing: [{customTags: {a: {}, b: {literal: {value: ''}},"
                     " c: {header: {}}}}]}",
                     ["error spec.tracing[0].customTags.a required",
                      "error spec.tracing[0].customTags.c.header.name required"], id="tags"),
        pytest.param("{metrics: [{overrides: [{tagOverrides: {a: {value: request.path}, b: {},"
                     " c: {operation: REMOVE}, d: {operation: REMOVE, value: '1'}}}]}]}",
                     ["error spec.metrics[0].overrides[0].tagOverrides.b.value required",
                      "error spec.metrics[0].overrides[0].tagOverrides.d.value not-allowed"],
                     id="overrides"),
        pytest.param("{accessLogging: [{filter: {expression: 'response.code >= 400'}}]}", [],
                     id="access-log"),
        pytest.param("{accessLogging: [{filter: {expression: 'a b'}}]}",
                     ["error spec.accessLogging[0].filter.expression expression"],
                     id="expression"),
        pytest.param("{metrics: [{overrides: [{tagOverrides: {a: {value: '(1)%2'}}}]}]}",
                     ["error spec.metrics[0].overrides[0].tagOverrides.a.value expression"],
                     id="expression-that-ends-a-format"),
        pytest.param("{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}",
                     ["error spec.targetRefs one-of"], id="selector-and-target"),
        pytest.param("{tracing: [{disableContextPropagation: true, customTags:"
                     " {'': {literal: {value: a}}, b: {header: {name: 'a b'}},"
                     " c: {environment: {name: 'A=B'}}}}]}",
                     ["error spec.tracing[0].customTags empty",
                      "error spec.tracing[0].customTags.b.header.name header-name",
                      "error spec.tracing[0].customTags.c.environment.name variable",
                      "error spec.tracing[0].disableContextPropagation unsupported"],
                     id="bad-tags"),
        pytest.param("{metrics: [{overrides: [{tagOverrides: {a: {value: 'string(request.host)'},"
                     " b: {value: 'string(source.port) > 1'}}}]}]}",
                     ["error spec.metrics[0].overrides[0].tagOverrides.b.value expression"],
                     id="text"),
        pytest.param("{metrics: [{overrides: [{match: {customMetric: 'a-b'}, tagOverrides:"
                     " {le: {operation: REMOVE}, __a: {operation: REMOVE},"
                     " a-b: {operation: REMOVE}}}]}]}",
                     ["error spec.metrics[0].overrides[0].match.customMetric metric",
                      "error spec.metrics[0].overrides[0].tagOverrides.__a label",
                      "error spec.metrics[0].overrides[0].tagOverrides.a-b label",
                      "error spec.metrics[0].overrides[0].tagOverrides.le label"], id="labels"),
    ],
)  # fmt: skip
def test_telemetry(spec: str, expected: list[str]) -> None:
    assert sorted(found("Telemetry", spec)) == sorted(expected)


SHA = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        *(
            pytest.param("{url: '%s'}" % url, [], id=url)
            for url in ("oci://a/b:1", "a/b", "file:///a", "http://a/b", "https://a/b")
        ),
        pytest.param("{url: 'ftp://a'}", ["error spec.url url"], id="scheme"),
        pytest.param("{}", ["error spec.url required"], id="no-url"),
        pytest.param("{url: a, sha256: %s}" % SHA, [], id="sha"),
        pytest.param("{url: a, sha256: ABC}", ["error spec.sha256 sha256"], id="bad-sha"),
        pytest.param("{url: a, pluginName: %s}" % ("a" * 257),
                     ["error spec.pluginName too-long"], id="name"),
        pytest.param("{url: a, imagePullSecret: %s}" % ("a" * 254),
                     ["error spec.imagePullSecret too-long"], id="secret"),
        pytest.param("{url: a, vmConfig: {env: [{name: A, value: '1'}, {name: A},"
                     " {name: B, valueFrom: HOST, value: x}, {value: y}]}}",
                     ["error spec.vmConfig.env[1].name duplicate",
                      "error spec.vmConfig.env[2].value not-allowed",
                      "error spec.vmConfig.env[3].name required"], id="environment"),
        pytest.param("{url: a, verificationKey: x, vmConfig: {env: [{name: ISTIO_META_WASM_X}]}}",
                     ["error spec.verificationKey unsupported",
                      "error spec.vmConfig.env[0].name not-allowed"], id="not-for-users"),
        pytest.param("{url: a, match: [{ports: [{number: 70000}, {}]}]}",
                     ["error spec.match[0].ports[0].number port",
                      "error spec.match[0].ports[1].number required"], id="ports"),
        pytest.param("{url: a, selector: {matchLabels: {a: b}},"
                     " targetRefs: [{kind: Service, name: a}]}",
                     ["error spec.targetRefs one-of"], id="selector-and-target"),
    ],
)  # fmt: skip
def test_wasm_plugin(spec: str, expected: list[str]) -> None:
    assert sorted(found("WasmPlugin", spec)) == sorted(expected)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{lua: {inlineCode: 'function envoy_on_request(h) end'}}", [], id="lua"),
        pytest.param("{lua: {inlineCode: 'function'}}", ["error spec.lua.inlineCode lua"],
                     id="no-lua"),
        pytest.param("{}", ["error spec required"], id="nothing"),
        pytest.param("{wasm: {url: a}, lua: {inlineCode: ''}}", ["error spec.lua one-of"],
                     id="both"),
        pytest.param("{lua: {}}", ["error spec.lua.inlineCode required"], id="no-code"),
        pytest.param("{lua: {inlineCode: %s}}" % ("x" * 65_537),
                     ["error spec.lua.inlineCode lua"], id="long-code"),
        pytest.param("{wasm: {url: 'gopher://x', sha256: x}}",
                     ["error spec.wasm.url url", "error spec.wasm.sha256 sha256"], id="wasm"),
    ],
)  # fmt: skip
def test_traffic_extension(spec: str, expected: list[str]) -> None:
    assert found("TrafficExtension", spec) == expected


@pytest.mark.parametrize("kind", ["Telemetry", "WasmPlugin"])
def test_targets_are_in_the_own_namespace(kind: str) -> None:
    target = "{group: gateway.networking.k8s.io, kind: Gateway, name: a, namespace: b}"
    url = ", url: a" if kind == "WasmPlugin" else ""
    assert found(kind, f"{{targetRef: {target}{url}}}") == [
        "error spec.targetRef.namespace target-ref"
    ]
