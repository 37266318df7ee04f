"""Hostile input: bounded time and memory, a precise error, nothing that others have to wait for.

What is slow here is slow for every tenant. Sizes are such that work that grows with their square
takes minutes; the limit of time is the runner's. `python -m tests.fuzz --of decoder` draws more;
MAST_PARSER_CASES says how many of each.
"""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mast.common.kinds import Kind, named
from mast.galley.core.decode import FINDINGS_LIMIT, decode
from mast.galley.core.discovery.manifests import CONTROLLERS
from mast.galley.core.documents import TEXT_LIMIT_BYTES, Document, from_json, parsed, utf8
from mast.galley.core.judge import judge
from mast.galley.core.manifests import Manifests
from mast.galley.core.objects import Defaults, read_documents, read_json, read_text
from mast.galley.core.problem import Problem, errors
from mast.galley.core.resources import resource, shown, stored
from mast.galley.core.verdicts import verdicts

CASES = int(os.environ.get("MAST_PARSER_CASES", "50"))
many = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))

MANY = 2_000
DIGITS = "9" * 5000
NUMBERS = ("9" * 400, "1e999", "-1e999", ".inf", ".nan", "1e-999", "0x" + "f" * 300, "²", "٣")


def object_of(kind: str, spec: str, name: str = "big") -> str:
    known = named(kind)[0]
    return f"""apiVersion: {known.api_version}
kind: {known.name}
metadata: {{name: {name}, namespace: shop}}
spec: {spec}
"""


GOOD = object_of("DestinationRule", "{host: a}", "good")


def told(text: str) -> tuple[list[str], list[Problem]]:
    """Names of the objects without an error, and all problems."""
    judged = judge(read_text(text, "-", Defaults()))
    wrong = {problem.about for problem in errors(judged.problems)}
    return [o.meta.name for o in judged.objects if o.about not in wrong], list(judged.problems)


def each(pattern: str, number: int = MANY) -> str:
    """The pattern very often, each with another number in it."""
    return ", ".join(pattern.replace("#", str(index)) for index in range(number))


BALANCER = "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [%s]}}}}"
REDIRECT = "http: [{redirect: {}}]"
TLS = "tls: [{match: [{sniHosts: [%s]}], route: [{destination: {host: a}}]}]"


@pytest.mark.parametrize(
    ("kind", "spec", "rule"),
    [
        pytest.param("VirtualService", f"{{hosts: [{each('h#.a.com', 20_000)}], {REDIRECT}}}",
                     "required", id="hosts"),
        pytest.param("VirtualService",
                     f"{{hosts: [{each('h#.a.com', 5000)}], {TLS % each('s#.a.com', 5000)}}}",
                     "sni", id="names-of-tls"),
        pytest.param("VirtualService", f"{{hosts: [{'a.' * 500_000}com], {REDIRECT}}}", "host",
                     id="one-host-of-many-labels"),
        pytest.param("VirtualService", "{hosts: [a.com], http: [%s]}"
                     % each("{match: [{uri: {prefix: /a#}}], name: x}"), "required", id="rules"),
        pytest.param("VirtualService", "{hosts: [a.com], http: [{match: [{uri: {exact: %s}}]},"
                     " {match: [{uri: {prefix: %s}}]}]}" % (("/a" * 500_000,) * 2), "required",
                     id="long-paths"),
        pytest.param("DestinationRule", BALANCER % each("{from: r#, to: {a: 1}}"), "locality",
                     id="origins"),
        pytest.param("DestinationRule", BALANCER % f"{{from: a, to: {{{each('r#: 1')}}}}}",
                     "locality", id="shares"),
        pytest.param("ServiceEntry", "{hosts: [a.com], resolution: STATIC, ports: [%s],"
                     " endpoints: [%s]}"
                     % (each("{name: p#, number: 1#}"), each("{address: 1.1.1.1, ports: {x: 1}}")),
                     "port", id="ports-of-endpoints"),
        pytest.param("DestinationRule", f"{{host: a, {each('hots#: 1')}}}", "unknown-field",
                     id="unknown-fields"),
        pytest.param("DestinationRule", f"{{host: a, exportTo: [{each('5')}]}}", "wrong-type",
                     id="wrong-types"),
        pytest.param("DestinationRule", f"{{host: a, {each('host: b')}}}", "duplicate-key",
                     id="one-key"),
        pytest.param("config.istio.io/instance", "{compiledTemplate: metric, params: {dimensions:"
                     " {%s}}}" % each("k#: source.name + #"), "expression", id="expressions"),
        pytest.param("config.istio.io/rule",
                     "{match: '%s && 5'}" % " && ".join(["a.b == c.d"] * 90), "attribute",
                     id="attributes"),
    ],
)  # fmt: skip
def test_an_endless_object_is_refused_and_delays_no_other(kind: str, spec: str, rule: str) -> None:
    good, problems = told(f"{object_of(kind, spec)}---\n{GOOD}")
    assert good == ["good"]
    assert rule in {problem.rule for problem in problems}


def test_of_very_many_mistakes_the_first_are_told() -> None:
    _, problems = told(object_of("DestinationRule", f"{{host: a, exportTo: [{each('A_#')}]}}"))
    assert len(problems) == FINDINGS_LIMIT + 1
    assert [problem.rule for problem in problems].count("too-many") == 1


TEXTS: dict[str, tuple[str, str]] = {
    "million-lines": ("a: 1\n" * 1_000_000, "too-large"),
    "million-items": ("-\n" * 1_000_000, "too-large"),
    "million-documents": ("---\n" * 1_000_000, "too-large"),
    "million-brackets": ("[" * 1_000_000, "too-deep"),
    "brackets-in-documents": (("---\n" + "[" * 100 + "\n") * 10_000, "too-deep"),
    "bomb": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
        "too-large",
    ),
    "merges": (
        "a0: &a0 {k0: 1}\n"
        + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}, k{n}: 1}}\n" for n in range(1, 3000)),
        "too-large",
    ),
    "zeros": ("\0" * 1_000_000, "malformed-yaml"),
    "bytes": (utf8(b"\xff" * 1_000_000), "not-utf-8"),
    "one-scalar": ("a: " + "x" * (TEXT_LIMIT_BYTES - 10), "required"),
    "one-key": ("x" * 100_000 + ": 1", "malformed-yaml"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "rule"), TEXTS.values(), ids=TEXTS)
def test_endless_texts_are_refused(text: str, rule: str) -> None:
    good, problems = told(text)
    assert good == []
    assert rule in {problem.rule for problem in problems}
    assert len(problems) <= FINDINGS_LIMIT
    assert all(len(str(problem)) < 4000 for problem in problems)


def test_what_comes_before_a_bomb_is_read() -> None:
    assert told(f"{GOOD}---\n{TEXTS['bomb'][0]}")[0] == ["good"]


@pytest.mark.parametrize("number", [*NUMBERS, DIGITS], ids=lambda text: text[:8])
@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        pytest.param("VirtualService", "{hosts: [a.com], http: [{timeout: #s, retries:"
                     " {attempts: #, retryOn: '#'}, redirect: {port: #}}]}", id="VirtualService"),
        pytest.param("Sidecar", "{ingress: [{port: {number: #, protocol: HTTP},"
                     " defaultEndpoint: '127.0.0.1:#'}]}", id="Sidecar"),
        pytest.param("AuthorizationPolicy", "{rules: [{to: [{operation: {ports: ['#']}}],"
                     " when: [{key: destination.port, values: ['#']}]}]}",
                     id="AuthorizationPolicy"),
        pytest.param("MeshConfig", "{mixerCheckServer: 'a:#', defaultConfig: {statusPort: #,"
                     " tracing: {sampling: #}}}", id="MeshConfig"),
        pytest.param("WasmPlugin", "{url: a, pluginConfig: {a: #, b: [#]}}", id="WasmPlugin"),
        pytest.param("config.istio.io/handler", "{adapter: a, connection: {address: 'h:#'}}",
                     id="handler"),
        pytest.param("ServiceRole", "{rules: [{services: [a], constraints:"
                     " [{key: destination.port, values: ['#']}]}]}", id="ServiceRole"),
        pytest.param("Telemetry", "{tracing: [{randomSamplingPercentage: #}]}", id="Telemetry"),
    ],
)  # fmt: skip
def test_numbers_beyond_all_bounds(kind: str, spec: str, number: str) -> None:
    """No number raises; what is stored can be shown again."""
    judged = judge(read_text(object_of(kind, spec.replace("#", number)), "-", Defaults()))
    (obj,) = judged.objects
    if not errors(judged.problems):
        kept = resource(obj, 1, None).SerializeToString()
        assert shown(stored(obj.key, kept, 1)).metadata.name == "big"


ODD = st.sampled_from([*NUMBERS, DIGITS, f"{DIGITS}s", "1" * 300 + "h", "\ud800", "a\udfffb", "\0"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | ODD | st.just(10**400)


def trees(kind: Kind) -> st.SearchStrategy[Any]:
    names = st.sampled_from([f.json_name for f in kind.message.DESCRIPTOR.fields]) | ODD
    return st.recursive(
        LEAVES,
        lambda t: st.lists(t, max_size=3) | st.dictionaries(names, t, max_size=3),
        max_leaves=12,
    )


@pytest.mark.parametrize("name", ["VirtualService", "AuthorizationPolicy", "EnvoyFilter",
                                  "WasmPlugin", "MeshConfig", "Secret"])  # fmt: skip
@many
@given(data=st.data())
def test_no_tree_raises(name: str, data: st.DataObject) -> None:
    """Whatever an API server may send as JSON, half characters and endless numbers included."""
    kind = named(name)[0]
    spec = data.draw(trees(kind))
    content: dict[str, Any] = {"apiVersion": kind.api_version, "kind": kind.name,
                               "metadata": {"name": data.draw(ODD | st.just("a"))}}  # fmt: skip
    content |= spec if kind.flat and isinstance(spec, dict) else {"spec": spec}
    judge(read_json(content, "-", Defaults()))


FIELDS = st.sampled_from(
    ["metadata", "name", "namespace", "labels", "annotations", "ownerReferences", "spec",
     "status", "template", "jobTemplate", "selector", "matchLabels", "replicas", "containers",
     "ports", "port", "containerPort", "rules", "http", "paths", "path", "backend",
     "serviceName", "servicePort", "items", "kind", "endpoints", "addresses", "subsets"]
) | ODD  # fmt: skip
CONTENTS = st.recursive(
    LEAVES | st.sampled_from(["a", "List", "1.2.3.4"]),
    lambda t: st.lists(t, max_size=3) | st.dictionaries(FIELDS, t, max_size=4),
    max_leaves=20,
)
MANIFESTS = st.sampled_from(
    [*CONTROLLERS, ("v1", "Service"), ("v1", "Pod"), ("v1", "Endpoints"), ("v1", "Node"),
     ("discovery.k8s.io/v1", "EndpointSlice"), ("extensions/v1beta1", "Ingress"),
     ("extensions/v1beta1", "Deployment"), ("v1", "List")]
)  # fmt: skip


@many
@given(MANIFESTS, st.dictionaries(FIELDS, CONTENTS, max_size=4))
def test_no_manifest_raises(kind: tuple[str, str], content: dict[str, Any]) -> None:
    tree = from_json({**content, "apiVersion": kind[0], "kind": kind[1]})
    documents = [Document(tree)]
    manifests = list(Manifests("shop").judged(documents, "-"))
    judged = judge(read_documents(documents, "-", Defaults(skip_foreign=True)))
    assert len(verdicts(judged, manifests)) <= 1 or kind[1] == "List"


@many
@given(st.binary(max_size=300))
def test_no_bytes_raise(content: bytes) -> None:
    judge(read_text(utf8(content), "-", Defaults()))


SEPARATED = st.lists(
    st.sampled_from(["a: 1\n", "[\n", "'\n", "*x\n", "a: &x [1]\n", "? \n", "%YAML 1.2\n", "\0\n",
                     "a: \udcff\n", "  \n", "# x\n", "a: 1\na: 2\n", "|\n x\n", "...\n"]),
    max_size=8,
)  # fmt: skip


@many
@given(SEPARATED)
def test_a_document_is_read_whatever_is_beside_it(others: list[str]) -> None:
    text = "---\n".join(["", *others, "good: yes\n"])
    found = [each for each in parsed(text) if each.node is not None and _is_good(each.node.value)]
    assert [each.problems for each in found] == [()]


def _is_good(value: object) -> bool:
    return isinstance(value, dict) and "good" in value


def test_a_deep_struct_is_decoded_within_the_limit_of_messages() -> None:
    tree: Any = 1
    for _ in range(60):
        tree = {"a": tree}
    kind = named("WasmPlugin")[0]
    decoded = decode(from_json({"url": "a", "pluginConfig": tree}), kind.message, ("spec",))
    assert decoded.findings == ()
