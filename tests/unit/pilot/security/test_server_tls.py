"""TLS that a port of the workload ends by itself (pilot.md E15)."""

from typing import Any

import pytest

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.gateway_pb2 import ServerTLSSettings
from mast.pilot.core.security.server_tls import server_tls, terminates
from tests.support.messages import made, plain


def context(text: str, defaults: str = "{}") -> dict[str, Any]:
    of_mesh = made(MeshConfig.TLSConfig, defaults)
    socket = server_tls(made(ServerTLSSettings, text), of_mesh, alpn=("h2",))
    found: dict[str, Any] = plain(socket)
    assert found["name"] == "envoy.transport_sockets.tls"
    config: dict[str, Any] = found["typed_config"]
    return config


FILES = "serverCertificate: /c, privateKey: /k"


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("SIMPLE", True),
        ("MUTUAL", True),
        ("OPTIONAL_MUTUAL", True),
        ("PASSTHROUGH", False),
        ("ISTIO_MUTUAL", False),
    ],
)
def test_terminates(mode: str, expected: bool) -> None:
    assert terminates(made(ServerTLSSettings, f"mode: {mode}")) is expected


def test_terminates_nothing_without_settings() -> None:
    assert not terminates(None)


def test_simple() -> None:
    config = context(f"{{mode: SIMPLE, {FILES}}}")
    common = config["common_tls_context"]
    (certificate,) = common["tls_certificate_sds_secret_configs"]
    assert certificate["name"] == "file-cert:/c~/k"
    assert common["alpn_protocols"] == ["h2"]
    parameters = common["tls_params"]
    assert parameters["tls_minimum_protocol_version"] == "TLSv1_2"
    assert parameters["tls_maximum_protocol_version"] == "TLSv1_3"
    assert len(parameters["cipher_suites"]) == 6
    assert "require_client_certificate" not in config


def test_mutual() -> None:
    config = context(
        f"{{mode: MUTUAL, {FILES}, caCertificates: /ca, subjectAltNames: [a], "
        "cipherSuites: [AES128-SHA],"
        " minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_3}"
    )
    assert config["require_client_certificate"] is True
    common = config["common_tls_context"]
    combined = common["combined_validation_context"]
    assert combined["validation_context_sds_secret_config"]["name"] == "file-root:/ca"
    assert combined["default_validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "URI", "matcher": {"exact": "a"}},
        {"san_type": "DNS", "matcher": {"exact": "a"}},
    ]
    assert common["tls_params"] == {
        "tls_minimum_protocol_version": "TLSv1_3",
        "tls_maximum_protocol_version": "TLSv1_3",
        "cipher_suites": ["AES128-SHA"],
    }


def test_what_is_left_open_is_that_of_the_mesh() -> None:
    mesh = "{minProtocolVersion: TLSV1_3, ecdhCurves: [X25519], cipherSuites: [AES128-SHA]}"
    parameters = context(f"{{mode: SIMPLE, {FILES}}}", mesh)["common_tls_context"]["tls_params"]
    assert parameters["tls_minimum_protocol_version"] == "TLSv1_3"
    assert parameters["ecdh_curves"] == ["X25519"]
    assert parameters["cipher_suites"] == ["AES128-SHA"]
    own = "minProtocolVersion: TLSV1_2, cipherSuites: [AES256-SHA]"
    parameters = context(f"{{mode: SIMPLE, {own}, {FILES}}}", mesh)["common_tls_context"][
        "tls_params"
    ]
    assert parameters["tls_minimum_protocol_version"] == "TLSv1_2"
    assert parameters["cipher_suites"] == ["AES256-SHA"]
