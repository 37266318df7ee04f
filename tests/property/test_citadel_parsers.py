"""Whatever a caller sends: a clear refusal, never a crash (CSR, PEM, JWT, XFCC).

`tox -e fuzz` draws more of them; MAST_PARSER_CASES says how many of each.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mast.citadel.core.csr import read_csr
from mast.citadel.core.external import check_csr
from mast.citadel.core.forwarded import elements, names
from mast.citadel.core.identity import own_name
from mast.citadel.core.jwt import JwtRule, parse_keys, parse_rule, verified
from mast.citadel.core.keys import load_private_key
from mast.citadel.core.leaf import general_name
from mast.citadel.core.plugged_in import ALL_FILES, InvalidPluggedInCa, plugged_in
from mast.citadel.core.refusals import BadCsr, Unauthenticated
from mast.citadel.store.issuer_keys import keys_of
from mast.common.kubernetes import InvalidAccess, kubeconfig
from tests.unit.citadel.examples import DOMAIN, ME, NOW, csr_pem, private_key
from tests.unit.citadel.test_jwt import RSA, RULE, jwk, keys, token

CASES = int(os.environ.get("MAST_PARSER_CASES", "100"))
many = settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

GOOD_CSR = csr_pem()
GOOD_DER = x509.load_pem_x509_csr(GOOD_CSR).public_bytes(Encoding.DER)
GOOD_TOKEN = token()
KEYS = keys(jwk(RSA))
P256_KEYS = keys(jwk(private_key("P256")))
LONG = 300


def told(kind: type[Exception], call: Callable[[], object]) -> str | None:
    """What the refusal of a call says; None if it went through. Any other error is raised."""
    try:
        call()
    except kind as refusal:
        return str(refusal) if not isinstance(refusal, Unauthenticated) else refusal.reason
    return None


def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """A few bytes changed, cut out, put in or repeated."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(("change", "cut", "insert", "repeat")))
        if kind == "change" and data:
            data[place] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[place : place + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[place:place] = draw(st.binary(max_size=20))
        else:
            data[place:place] = data[place : place + draw(st.integers(1, 60))]
    return bytes(data)


def as_pem(der: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    lines = base64.encodebytes(der)
    return f"-----BEGIN {label}-----\n".encode() + lines + f"-----END {label}-----\n".encode()


@st.composite
def csrs(draw: st.DrawFn) -> bytes:
    """Text that is nearly a CSR: broken in its PEM, or in the DER below it."""
    kind = draw(st.sampled_from(("der", "pem", "label", "junk")))
    if kind == "der":
        return as_pem(mutated(draw, GOOD_DER))
    if kind == "pem":
        return mutated(draw, GOOD_CSR)
    if kind == "label":
        return as_pem(GOOD_DER, draw(st.text("ABC XYZ", max_size=20)))
    return draw(st.binary(max_size=LONG))


@many
@given(csrs())
def test_csrs(pem: bytes) -> None:
    if (reason := told(BadCsr, lambda: read_csr(pem))) is not None:
        assert "(CSR" in reason
    else:
        told(BadCsr, lambda: check_csr(pem, (ME,)))


@st.composite
def json_values(draw: st.DrawFn) -> Any:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    return draw(
        st.recursive(
            leaves,
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.text(max_size=8), inner, max_size=4)
            ),
            max_leaves=8,
        )
    )


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


CLAIMS = ("iss", "sub", "aud", "exp", "nbf", "iat")
ALGORITHMS = ("RS256", "ES256", "none", "HS256", "EdDSA", "ES256K")
HEADERS = ("alg", "kid", "typ", "crit", "jwk", "jku", "b64", "x5c", "zip")


@st.composite
def tokens(draw: st.DrawFn) -> str:
    """Tokens of any header and claims, and good ones with a few bytes changed."""
    if draw(st.booleans()):
        return mutated(draw, GOOD_TOKEN.encode()).decode("latin-1")
    header = draw(st.dictionaries(st.sampled_from(HEADERS), json_values(), max_size=4))
    if draw(st.booleans()):
        header["alg"] = draw(st.sampled_from(ALGORITHMS))
    claims = draw(st.dictionaries(st.sampled_from(CLAIMS), json_values(), max_size=6))
    signature = draw(st.text("ABCabc012-_", max_size=40))
    return f"{encoded(header)}.{encoded(claims)}.{signature}"


@many
@given(tokens())
def test_tokens(text: str) -> None:
    """None of them is accepted, unless it is the good one."""
    if told(Unauthenticated, lambda: verified(text, KEYS, RULE, NOW)) is None:
        # Trailing bits of the last character of base64 say nothing.
        assert text.rsplit(".", 1)[0] == GOOD_TOKEN.rsplit(".", 1)[0]


@many
@given(json_values(), st.lists(json_values(), max_size=3))
def test_claims_of_any_kind_under_a_good_signature(value: Any, more: list[Any]) -> None:
    for name in CLAIMS:
        claims = {"iss": RULE.issuer, "aud": list(RULE.audiences), "exp": 9e9, name: value}
        try:
            text = jwt.encode(claims, private_key("P256"), "ES256", headers={"kid": "k"})
        except (TypeError, ValueError):
            continue
        told(Unauthenticated, lambda text=text: verified(text, P256_KEYS, RULE, NOW))


@many
@given(st.one_of(json_values().map(json.dumps), st.text(max_size=LONG)))
def test_key_sets_and_rules(text: str) -> None:
    for parse in (parse_keys, lambda t: parse_rule(t, ("a",)), lambda t: keys_of(t.encode())):
        assert told(ValueError, lambda parse=parse: parse(text)) != ""


@many
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(("kty", "crv", "x", "y", "n", "e", "alg", "use", "kid", "k", "d")),
            st.sampled_from(
                ("RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB", "", "sig", "%")
            ),
        ),
        max_size=3,
    )
)
def test_key_sets_that_are_nearly_good(entries: list[dict[str, str]]) -> None:
    assert told(ValueError, lambda: parse_keys(json.dumps({"keys": entries}))) != ""


XFCC = f'By=spiffe://a;Hash=1;Subject="CN=x,O=\\"y\\"";URI={ME};DNS=a.b,URI=c'


@st.composite
def headers(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return mutated(draw, XFCC.encode()).decode("latin-1")
    if kind == 1:
        pieces = ("URI=", "DNS=", "Subject=", '"', "\\", ";", ",", "=", "CN=", ME, "a", "/", " ")
        return "".join(draw(st.lists(st.sampled_from(pieces), max_size=30)))
    return draw(st.text(max_size=LONG))


@many
@given(headers())
def test_headers_of_proxies(header: str) -> None:
    """What is read becomes names that a certificate can have, or none."""
    if (reason := told(ValueError, lambda: elements(header))) is not None:
        assert reason.startswith("XFCC")
        return
    for name in (name for each in elements(header) for name in names(each)):
        foreign = told(ValueError, lambda name=name: own_name(name, DOMAIN))
        if foreign is None and (own := own_name(name, DOMAIN)):
            x509.SubjectAlternativeName([general_name(own)])


@many
@given(st.data())
def test_quoted_values_come_back_as_they_were(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.text(max_size=30), min_size=1, max_size=4))
    quoted = [v.replace("\\", "\\\\").replace('"', '\\"') for v in values]
    header = ";".join(f'DNS="{value}"' for value in quoted)
    (element,) = elements(header)
    assert [value for _, value in element.pairs] == values


@many
@given(st.data())
def test_files_of_a_plugged_in_ca(data: st.DataObject) -> None:
    original = as_pem(GOOD_DER, "CERTIFICATE")
    contents = st.one_of(st.binary(max_size=LONG), st.just(original), st.just(b""))
    files = data.draw(st.dictionaries(st.sampled_from(ALL_FILES), contents))
    assert told(InvalidPluggedInCa, lambda: plugged_in(files, DOMAIN, now=NOW)) != ""


@many
@given(st.data())
def test_private_keys_are_never_quoted(data: st.DataObject) -> None:
    label = data.draw(st.sampled_from(("EC PRIVATE KEY", "RSA PRIVATE KEY", "PRIVATE KEY", "X")))
    content = data.draw(st.binary(min_size=12, max_size=LONG))
    pem = as_pem(content, label)
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_private_key(pem)
    assert base64.b64encode(content).decode()[:16] not in str(caught.value)


@many
@given(st.text(max_size=LONG))
def test_kubeconfigs(text: str) -> None:
    with pytest.raises(InvalidAccess):
        kubeconfig(text)


def test_the_good_ones_are_good() -> None:
    """Or nothing above would mean anything."""
    read_csr(GOOD_CSR)
    check_csr(GOOD_CSR, (ME,))
    verified(GOOD_TOKEN, KEYS, RULE, NOW)
    assert [names(each) for each in elements(XFCC)] == [(ME, "a.b", "x"), ("c",)]
    assert JwtRule("i", ("a",)) == parse_rule('{"issuer": "i", "audiences": ["a"]}', ())
