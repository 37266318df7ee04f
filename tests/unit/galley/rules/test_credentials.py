"""Secrets and ConfigMaps: what Envoy would not take is refused, and nothing of it is told (I5)."""

from __future__ import annotations

import base64

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text
from mast.galley.core.problem import Problem
from tests.support.pki import Ca, key_pem

CA = Ca.root()
PAIR, OTHER = CA.leaf(dns=["a.test"]), CA.leaf(dns=["b.test"])
CERT, KEY, ROOTS = PAIR.chain.decode(), PAIR.key.decode(), CA.pem.decode()
NAMELESS = CA.leaf()
PLAIN = serialization.NoEncryption()
PKCS8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
SMALL = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
ENCRYPTED = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    *PKCS8, serialization.BestAvailableEncryption(b"x")
)
ODD = ed448.Ed448PrivateKey.generate().private_bytes(*PKCS8, PLAIN)


def problems(kind: str, content: dict[str, object], *, secrets: bool = True) -> tuple[Problem, ...]:
    text = yaml.safe_dump(
        {"apiVersion": "v1", "kind": kind, "metadata": {"name": "c", "namespace": "n"}, **content}
    )
    return judge(read_text(text, "test.yaml", Defaults(secrets=secrets))).problems


def found(kind: str, content: dict[str, object]) -> list[str]:
    """As in other tables, with `data.tls.crt` for `data["tls.crt"]`."""
    paths = str.maketrans({"[": ".", "]": None, '"': None})
    return [
        f"{each.severity.value} {each.path.translate(paths)} {each.rule}"
        for each in problems(kind, content)
    ]


def encoded(**values: str) -> dict[str, str]:
    return {
        name.replace("_", "."): base64.encodebytes(text.encode()).decode()
        for name, text in values.items()
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            {"type": "kubernetes.io/tls", "data": encoded(tls_crt=CERT, tls_key=KEY)}, [], id="tls"
        ),
        pytest.param(
            {"data": encoded(cert=CERT, key=KEY, cacert=ROOTS)}, [], id="generic-with-roots"
        ),
        pytest.param({"stringData": {"tls.crt": CERT, "tls.key": KEY}}, [], id="text"),
        pytest.param({"type": "Opaque", "stringData": {"ca.crt": ROOTS}}, [], id="roots-only"),
        pytest.param(
            {"data": {"tls.key": "bm90aGluZw=="}, "stringData": {"tls.crt": CERT, "tls.key": KEY}},
            [],
            id="text-wins",
        ),
        pytest.param({}, ["error data required"], id="nothing"),
        pytest.param(
            {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}},
            ["error type secret-type"],
            id="other-type",
        ),
        pytest.param(
            {"type": "kubernetes.io/tls", "stringData": {"cert": CERT, "key": KEY}},
            ["error data.tls.crt required", "error data.tls.key required"],
            id="tls-under-other-names",
        ),
        pytest.param(
            {"stringData": {"tls.crt": CERT}}, ["error data.tls.key required"], id="without-key"
        ),
        pytest.param(
            {"stringData": {"key": KEY}}, ["error data.cert required"], id="without-certificate"
        ),
        pytest.param(
            {"stringData": {"tls.crt": CERT, "tls.key": OTHER.key.decode()}},
            ["error stringData.tls.key credential"],
            id="key-of-another",
        ),
        pytest.param(
            {"stringData": {"tls.crt": "-----BEGIN", "tls.key": "secret"}},
            ["error stringData.tls.crt credential", "error stringData.tls.key credential"],
            id="no-pem",
        ),
        pytest.param(
            {"stringData": {"tls.crt": NAMELESS.chain.decode(), "tls.key": NAMELESS.key.decode()}},
            ["error stringData.tls.crt credential"],
            id="nameless",
        ),
        pytest.param(
            {"stringData": {"tls.crt": CERT, "tls.key": ENCRYPTED.decode()}},
            ["error stringData.tls.key credential"],
            id="encrypted-key",
        ),
        pytest.param(
            {"stringData": {"tls.crt": CERT, "tls.key": key_pem(SMALL).decode()}},
            ["error stringData.tls.key credential", "error stringData.tls.key credential"],
            id="small-key",
        ),
        pytest.param(
            {"stringData": {"tls.crt": CERT, "tls.key": ODD.decode()}},
            ["error stringData.tls.key credential", "error stringData.tls.key credential"],
            id="odd-key",
        ),
        pytest.param(
            {"stringData": {"tls.crt": CERT, "tls.key": KEY, "ca.crl": "x", "ca.crt": "x"}},
            ["error stringData.ca.crl credential", "error stringData.ca.crt credential"],
            id="bad-roots-and-crl",
        ),
        pytest.param(
            {"stringData": {"tls.crt": CERT, "tls.key": KEY}, "data": {"tls.ocsp-staple": "eA=="}},
            ["error data.tls.ocsp-staple credential"],
            id="bad-staple",
        ),
        pytest.param(
            {"stringData": {"ca.crt": ROOTS, "password": "secret"}},
            ["warning stringData.password unused"],
            id="unused",
        ),
        pytest.param(
            {"data": {"tls.crt": "*secret*"}}, ["error data.tls.crt wrong-type"], id="no-base64"
        ),
        pytest.param({"spec": {}}, ["error spec unknown-field", "error data required"], id="spec"),
    ],
)  # fmt: skip
def test_secrets(content: dict[str, object], expected: list[str]) -> None:
    assert sorted(found("Secret", content)) == sorted(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param({"data": {"ca.crt": ROOTS}}, [], id="roots"),
        pytest.param({"binaryData": encoded(cacert=ROOTS)}, [], id="binary"),
        pytest.param({"data": {"game": "doom"}},
                     ["error data required", "warning data.game unused"], id="something-else"),
        pytest.param({"data": {"ca.crt": ROOTS, "tls.key": KEY}},
                     ["error data.tls.key not-allowed"], id="key"),
        pytest.param({"data": {"ca.crt": "x"}}, ["error data.ca.crt credential"], id="no-pem"),
    ],
)  # fmt: skip
def test_config_maps(content: dict[str, object], expected: list[str]) -> None:
    assert sorted(found("ConfigMap", content)) == sorted(expected)


@pytest.mark.parametrize(
    "content",
    [
        {"data": {"tls.key": "*secret*", "tls.crt": 12345}},
        {"stringData": {"tls.key": "secret", "tls.crt": 12345}},
        {"stringData": {"tls.key": ["secret"], "secret-unknown": "secret"}},
    ],
)
def test_problems_tell_nothing_of_values(content: dict[str, object]) -> None:
    texts = [each.message.replace("secret-unknown", "") for each in problems("Secret", content)]
    assert texts
    assert not any("secret" in each or "12345" in each for each in texts)


def test_without_a_sealing_key_secrets_are_refused() -> None:
    (problem,) = problems("Secret", {"stringData": {"ca.crt": ROOTS}}, secrets=False)
    assert (problem.path, problem.rule) == ("kind", "no-sealing-key")
    assert "--secrets-key-file" in problem.message
