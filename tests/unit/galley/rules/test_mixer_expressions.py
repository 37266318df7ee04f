"""Expressions in Mixer's objects: what fits, what does not, what is left to Mixer (B4)."""

from __future__ import annotations

import pytest

from mast.cli.mixer.manifest import declared
from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text
from mast.galley.core.rules.mixer_attributes import STANDARD
from tests.support.galley_rules import found

ACTION = "actions: [{handler: h, instances: [i], name: a}]"
VALUE = "spec.params.value"


def of(kind: str, spec: str, language: str = "") -> list[str]:
    annotations = f"{{policy.istio.io/lang: {language}}}" if language else "{}"
    return sorted(found(f"config.istio.io/{kind}", spec, annotations=annotations))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="none"),
        pytest.param("  ", [], id="blank"),
        pytest.param("true", [], id="always"),
        pytest.param('source.labels["app"] == "web" && response.code >= 500', [], id="bool"),
        pytest.param("source.name", ["error spec.match expression"], id="string"),
        pytest.param("source.name = 5", ["error spec.match expression"], id="syntax"),
        pytest.param("response.code == source.name", ["error spec.match expression"], id="types"),
        pytest.param("fuzzy(source.name)", ["error spec.match expression"], id="function"),
        pytest.param("shop.customer == source.name", ["warning spec.match attribute"],
                     id="attribute-of-a-manifest"),
        pytest.param("a.b == c.d", ["warning spec.match attribute"] * 2, id="attributes"),
    ],
)  # fmt: skip
def test_match(text: str, expected: list[str]) -> None:
    assert of("rule", f"{{match: '{text}', {ACTION}}}") == expected


@pytest.mark.parametrize("language", ["CEL", "COMPAT"])
def test_other_languages_are_mixers(language: str) -> None:
    rule = f"{{match: 'size([1, 2]) > 1 ? 5 : 6', {ACTION}}}"
    assert of("rule", rule, language) == []
    assert of("rule", rule, "CEXL") == ["error spec.match expression"]
    instance = "{compiledTemplate: metric, params: {value: '[1, 2]'}}"
    assert of("instance", instance, language) == []
    bound = "{compiledTemplate: kubernetes, attributeBindings: {source.ip: '[1]'}}"
    assert of("instance", bound, language) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param('"a"', [], id="text"),
        pytest.param('source.name | "x"', [], id="string"),
        pytest.param("response.code", ["error"], id="number"),
        pytest.param("a.output.value", [], id="output-of-an-action"),
        pytest.param("b.output.value", ["warning"], id="output-of-no-action"),
        pytest.param('a.output.value | "', ["error"], id="syntax"),
    ],
)
@pytest.mark.parametrize("field", ["requestHeaderOperations", "responseHeaderOperations"])
def test_header_values(field: str, value: str, expected: list[str]) -> None:
    told = of("rule", f"{{{ACTION}, {field}: [{{name: x, values: ['{value}']}}]}}")
    assert [each.split()[0] for each in told] == expected
    assert all(f"spec.{field}[0].values[0] " in each for each in told)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param("value: '1'", [], id="any-type"),
        pytest.param("value: source.ip", [], id="any-type-indeed"),
        pytest.param("value: '1 +'", [f"error {VALUE} expression"], id="syntax"),
        pytest.param("value: '', monitored_resource_type: ''", [], id="unset"),
        pytest.param("monitoredResourceType: response.code",
                     ["error spec.params.monitoredResourceType expression"], id="type"),
        pytest.param("dimensions: {a: source.name, b: 'source.name + 5', c: x.y}",
                     ["error spec.params.dimensions.b expression",
                      "warning spec.params.dimensions.c attribute"], id="map"),
    ],
)  # fmt: skip
def test_metric(params: str, expected: list[str]) -> None:
    assert of("instance", f"{{compiledTemplate: metric, params: {{{params}}}}}") == expected


def test_fields_of_fields() -> None:
    subject = "{user: response.code, properties: {app: source.labels}}"
    assert of("authorization", f"{{subject: {subject}}}") == ["error spec.subject.user expression"]


@pytest.mark.parametrize(
    ("bindings", "expected"),
    [
        pytest.param("{source.ip: '$out.source_pod_ip | ip(\"0.0.0.0\")'}", [], id="ip"),
        pytest.param("{source.labels: '$out.source_labels | emptyStringMap()'}", [], id="map"),
        pytest.param("{source.ip: $out.source_namespace}", ["error"], id="type"),
        pytest.param("{source.ip: $out.nothing}", ["warning"], id="no-such-output"),
        pytest.param("{shop.customer: $out.source_namespace}", [], id="attribute-of-a-manifest"),
        pytest.param("{source.ip: 5}", ["error"], id="no-text"),
        pytest.param("5", ["error"], id="no-object"),
    ],
)
def test_bindings(bindings: str, expected: list[str]) -> None:
    told = of("kubernetes", f"{{attribute_bindings: {bindings}}}")
    assert [each.split()[0] for each in told] == expected


def test_bindings_of_instances() -> None:
    bound = "attributeBindings: {source.ip: $out.source_namespace}"
    assert of("instance", f"{{compiledTemplate: kubernetes, {bound}}}") == [
        'error spec.attributeBindings["source.ip"] expression'
    ]
    assert of("instance", f"{{compiledTemplate: metric, {bound}}}") == [
        "error spec.attributeBindings not-allowed"
    ]


def test_messages_say_what_is_allowed() -> None:
    text = (
        "apiVersion: config.istio.io/v1alpha2\nkind: rule\nmetadata: {name: r}\n"
        f"spec: {{match: source.name, {ACTION}}}"
    )
    (error,) = judge(read_text(text, "f.yaml", Defaults())).problems
    assert error.message == "'source.name' is of type STRING; allowed: BOOL"


def test_standard_attributes_are_those_that_mixer_begins_with() -> None:
    assert declared() == STANDARD
