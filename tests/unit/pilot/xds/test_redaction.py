"""Private keys and passwords are shown to nobody (pilot.md M2)."""

import base64
import json

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtProvider
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import GenericSecret, Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from google.protobuf.any_pb2 import Any

from mast.common.process.redaction import REDACTED
from mast.pilot.core.xds.redaction import plain_redacted, redact
from tests.support.tokens import Issuer

PEM = "-----BEGIN EC PRIVATE KEY-----\nTOPSECRET\n-----END EC PRIVATE KEY-----\n"


def certificate() -> DownstreamTlsContext:
    made = DownstreamTlsContext()
    pair = made.common_tls_context.tls_certificates.add()
    pair.certificate_chain.inline_string = "chain"
    pair.private_key.inline_string = "TOPSECRET"
    pair.password.inline_bytes = b"TOPSECRET"
    made.session_ticket_keys.keys.add().inline_bytes = b"TOPSECRET" * 9
    return made


def test_what_envoy_calls_sensitive_is_replaced() -> None:
    made = certificate()
    redact(made)
    (pair,) = made.common_tls_context.tls_certificates
    assert pair.certificate_chain.inline_string == "chain"
    assert pair.private_key.inline_string == REDACTED
    assert pair.password.inline_bytes == REDACTED.encode()
    assert [each.inline_bytes for each in made.session_ticket_keys.keys] == [REDACTED.encode()]


def test_messages_in_messages_in_messages_are_looked_at() -> None:
    cluster = Cluster(name="a")
    cluster.transport_socket.typed_config.Pack(certificate())
    outer = Any()
    outer.Pack(cluster)
    redact(outer)
    assert b"TOPSECRET" not in outer.SerializeToString()
    assert b"chain" in outer.SerializeToString()


def test_so_are_maps_of_messages() -> None:
    made = GenericSecret(secrets={"a": DataSource(inline_string="TOPSECRET")})
    redact(made)
    assert made.secrets["a"].inline_string == REDACTED
    cluster = Cluster()
    cluster.typed_extension_protocol_options["tls"].Pack(certificate())
    cluster.metadata.filter_metadata["x"].update({"y": "kept"})
    redact(cluster)
    assert b"TOPSECRET" not in cluster.SerializeToString()
    assert b"kept" in cluster.SerializeToString()


def test_a_secret_keeps_its_name() -> None:
    made = Secret(name="cert", tls_certificate=certificate().common_tls_context.tls_certificates[0])
    redact(made)
    assert made.name == "cert"
    assert b"TOPSECRET" not in made.SerializeToString()


@pytest.mark.parametrize(
    "packed",
    [
        Any(type_url="type.googleapis.com/not.Known", value=b"x"),
        Any(type_url="type.googleapis.com/" + Cluster.DESCRIPTOR.full_name, value=b"\xff"),
    ],
    ids=["unknown-type", "damaged"],
)
def test_what_cannot_be_read_stays(packed: Any) -> None:
    before = packed.SerializeToString()
    redact(packed)
    assert packed.SerializeToString() == before


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (PEM, True),
        (base64.b64encode(PEM.encode()).decode(), True),
        ("LS0tLS1CRUdJTi", True),
        (base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode(), False),
        ("-----BEGIN CERTIFICATE-----", False),
        ("a key", False),
    ],
    ids=["pem", "base64", "cut-base64", "certificate-in-base64", "certificate", "text"],
)
def test_texts_that_hold_a_key(text: str, hidden: bool) -> None:
    found = plain_redacted({"a": [{"b": text}, 1, None, (True, text)]})
    shown = REDACTED if hidden else text
    assert found == {"a": [{"b": shown}, 1, None, [True, shown]]}


@pytest.mark.parametrize(
    ("issuer", "member", "kept"),
    [
        pytest.param(Issuer("https://a", "HS256"), "", False, id="symmetric"),
        pytest.param(Issuer("https://a", "ES256"), "d", False, id="private"),
        pytest.param(Issuer("https://a", "ES256"), "", True, id="public"),
    ],
)
def test_keys_that_sign_tokens_are_replaced(issuer: Issuer, member: str, kept: bool) -> None:
    """Wherever a policy or a listener has them."""
    keys = json.dumps({"keys": [{**issuer.jwk, **({member: "TOPSECRET"} if member else {})}]})
    expected = keys if kept else REDACTED
    provider = JwtProvider(local_jwks=DataSource(inline_string=keys))
    redact(provider)
    assert provider.local_jwks.inline_string == expected
    assert plain_redacted({"jwtRules": [{"jwks": keys}]}) == {"jwtRules": [{"jwks": expected}]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("http://a:secret@b/c", f"http://a:{REDACTED}@b/c", id="with-user"),
        pytest.param("redis://:s@cret@b:1", f"redis://:{REDACTED}@b:1", id="password-alone"),
        pytest.param("x=http://a:1@b, y", f"x=http://a:{REDACTED}@b, y", id="in-a-text"),
        pytest.param("http://a@b/c:d@e", "http://a@b/c:d@e", id="user-alone"),
        pytest.param("http://b:80/x@y", "http://b:80/x@y", id="port"),
        pytest.param("spiffe://td/ns/a/sa/b", "spiffe://td/ns/a/sa/b", id="identity"),
    ],
)
def test_passwords_in_urls(text: str, shown: str) -> None:
    assert plain_redacted([text]) == [shown]
