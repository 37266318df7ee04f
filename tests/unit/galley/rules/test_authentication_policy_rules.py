"""Authentication policies of 1.0 to 1.4: accepted and rejected (B4)."""

from __future__ import annotations

import pytest

from tests.support.galley_rules import found

DEPRECATED = "warning kind deprecated"


def triggered(number: int, paths: str) -> str:
    """An origin that concerns some paths."""
    rules = f"triggerRules: [{{includedPaths: [{paths}]}}]"
    return f"{{jwt: {{issuer: https://i{number}, {rules}}}}}"


TRIGGERED = ", ".join(triggered(number, f"{{exact: /{number}}}") for number in range(7))


@pytest.mark.parametrize(
    ("kind", "name", "spec", "expected"),
    [
        pytest.param("Policy", "default", "{peers: [{mtls: {}}]}", [], id="namespace"),
        pytest.param("Policy", "a", "{targets: [{name: a, ports: [{number: 80}, {name: b}],"
                     " labels: {version: v1}}]}", [], id="target"),
        pytest.param("Policy", "a", "{peers: [{mtls: {}}]}", ["error spec.targets required"],
                     id="no-targets"),
        pytest.param("Policy", "default", "{targets: [{name: a}]}",
                     ["error spec.targets not-allowed"], id="default-with-targets"),
        pytest.param("MeshPolicy", "default", "{peers: [{mtls: {mode: PERMISSIVE}}]}", [],
                     id="mesh"),
        pytest.param("MeshPolicy", "a", "{targets: [{name: a}]}",
                     ["error metadata.name name", "error spec.targets not-allowed"],
                     id="mesh-of-another-name"),
        pytest.param("Policy", "a", "{targets: [{name: a.b, ports: [{number: 0}, {name: B}, {}],"
                     " labels: {'a b': c}}]}",
                     ["error spec.targets[0].name name",
                      "error spec.targets[0].ports[0].number port",
                      "error spec.targets[0].ports[1].name port-name",
                      "error spec.targets[0].ports[2] required",
                      'error spec.targets[0].labels["a b"] label'], id="target-words"),
        pytest.param("Policy", "default", "{origins: [{jwt: {issuer: https://a, jwksUri: https://a/keys}},"
                     " {jwt: {issuer: https://a}}, {}]}",
                     ["error spec.origins[1].jwt.issuer duplicate",
                      "error spec.origins[2].jwt required"], id="origins"),
        pytest.param("Policy", "default", "{origins: [{jwt: {jwksUri: x, audiences: [''],"
                     " jwtHeaders: ['a b'], jwtParams: ['']}}]}",
                     ["error spec.origins[0].jwt.issuer required",
                      "error spec.origins[0].jwt.jwksUri url",
                      "error spec.origins[0].jwt.audiences[0] empty",
                      "error spec.origins[0].jwt.jwtHeaders[0] header",
                      "error spec.origins[0].jwt.jwtParams[0] empty"], id="jwt"),
        pytest.param("Policy", "default", "{origins: [{jwt: {issuer: a, jwks: x,"
                     " jwksUri: https://a}}, {jwt: {issuer: b}}]}",
                     ["error spec.origins[0].jwt.jwks jwks",
                      "warning spec.origins[0].jwt.jwksUri without-effect",
                      "warning spec.origins[1].jwt.issuer no-keys"], id="keys"),
        pytest.param("Policy", "default", "{peers: [{}]}", ["error spec.peers[0] required"],
                     id="peer"),
        pytest.param("Policy", "default", "{peers: [{jwt: {issuer: a}}]}",
                     ["error spec.peers[0].jwt unsupported"], id="token-of-a-peer"),
        pytest.param("Policy", "default", "{peerIsOptional: true, originIsOptional: true}",
                     ["warning spec.originIsOptional without-effect",
                      "warning spec.peerIsOptional without-effect"], id="optional-nothing"),
        pytest.param("Policy", "default", "{principalBinding: USE_ORIGIN, peers: [{mtls: {}}]}",
                     ["error spec.origins required"], id="bound-to-no-origin"),
        pytest.param("Policy", "default", "{origins: [{jwt: {issuer: https://a, triggerRules:"
                     " [{excludedPaths: [{prefix: /health}, {suffix: .css}],"
                     " includedPaths: [{exact: /a}, {regex: '/b/[0-9]+'}]}]}}]}", [],
                     id="triggers"),
        pytest.param("Policy", "default", "{origins: [{jwt: {issuer: https://a, triggerRules: [{},"
                     " {excludedPaths: [{}, {prefix: ''}, {exact: '/a?b'}, {regex: '('}]}]}}]}",
                     ["error spec.origins[0].jwt.triggerRules[0] empty",
                      "error spec.origins[0].jwt.triggerRules[1].excludedPaths[0] required",
                      "error spec.origins[0].jwt.triggerRules[1].excludedPaths[1].prefix"
                      " string-match",
                      "error spec.origins[0].jwt.triggerRules[1].excludedPaths[2].exact"
                      " string-match",
                      "error spec.origins[0].jwt.triggerRules[1].excludedPaths[3].regex regex"],
                     id="bad-triggers"),
        pytest.param("Policy", "default", f"{{origins: [{TRIGGERED}]}}",
                     ["error spec.origins too-many"], id="too-many-triggers"),
    ],
)  # fmt: skip
def test_policy(kind: str, name: str, spec: str, expected: list[str]) -> None:
    assert sorted(found(kind, spec, name=name)) == sorted([DEPRECATED, *expected])
