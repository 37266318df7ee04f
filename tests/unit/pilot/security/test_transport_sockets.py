"""TLS contexts of clusters and listeners (pilot.md B16, E13, G5)."""

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from google.protobuf.json_format import MessageToDict, ParseDict

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings
from mast.pilot.core.model.mesh import Mesh, complete
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.security import transport_sockets
from tests.support.mesh_yaml import sidecar_proxy

PROXY = sidecar_proxy("shop")
FILES = sidecar_proxy(
    "shop",
    **{
        f"TLS_{side}_{what}": f"/{side}/{what}"
        for side in ("CLIENT", "SERVER")
        for what in ("CERT_CHAIN", "KEY", "ROOT_CERT")
    },
)


def opened(socket: TransportSocket, kind: Any = UpstreamTlsContext) -> Any:
    found = kind()
    assert socket.name == "envoy.transport_sockets.tls"
    assert socket.typed_config.Unpack(found)
    return found


def secrets(context: Any) -> dict[str, bool]:
    """Names of all secrets, and whether Envoy waits for them without limit."""
    common = context.common_tls_context
    found = list(common.tls_certificate_sds_secret_configs)
    if common.combined_validation_context.HasField("validation_context_sds_secret_config"):
        found.append(common.combined_validation_context.validation_context_sds_secret_config)
    for each in found:
        if "://" in each.name:
            assert each.sds_config.WhichOneof("config_source_specifier") == "ads"
            continue
        (service,) = each.sds_config.api_config_source.grpc_services
        assert service.envoy_grpc.cluster_name == "sds-grpc"
    return {each.name: each.sds_config.HasField("initial_fetch_timeout") for each in found}


@pytest.mark.parametrize(
    ("proxy", "names"),
    [
        pytest.param(PROXY, {"default", "ROOTCA"}, id="agent"),
        pytest.param(
            FILES,
            {"file-cert:/CLIENT/CERT_CHAIN~/CLIENT/KEY", "file-root:/CLIENT/ROOT_CERT"},
            id="files",
        ),
    ],
)
def test_mesh_client(proxy: Proxy, names: set[str]) -> None:
    found = opened(
        transport_sockets.mesh_client(
            proxy, sni="name", identities=["spiffe://td/ns/a/sa/b"], alpn=["istio"]
        )
    )
    assert found.sni == "name"
    assert secrets(found) == dict.fromkeys(names, True)
    common = found.common_tls_context
    assert list(common.alpn_protocols) == ["istio"]
    (san,) = (
        common.combined_validation_context.default_validation_context.match_typed_subject_alt_names
    )
    assert (san.san_type, san.matcher.exact) == (3, "spiffe://td/ns/a/sa/b")


@pytest.mark.parametrize(
    ("proxy", "names"),
    [
        pytest.param(PROXY, {"default", "ROOTCA"}, id="agent"),
        pytest.param(
            FILES,
            {"file-cert:/SERVER/CERT_CHAIN~/SERVER/KEY", "file-root:/SERVER/ROOT_CERT"},
            id="files",
        ),
    ],
)
def test_mesh_server(proxy: Proxy, names: set[str]) -> None:
    mesh = Mesh(complete(MeshConfig(trust_domain="td", trust_domain_aliases=["old"])))
    socket = transport_sockets.mesh_server(mesh, proxy, alpn=transport_sockets.SERVER_TCP_ALPN)
    found = opened(socket, DownstreamTlsContext)
    assert found.require_client_certificate.value
    assert secrets(found) == dict.fromkeys(names, True)
    common = found.common_tls_context
    assert list(common.alpn_protocols) == ["istio-peer-exchange", "h2", "http/1.1"]
    sans = (
        common.combined_validation_context.default_validation_context.match_typed_subject_alt_names
    )
    assert [each.matcher.prefix for each in sans] == ["spiffe://td/", "spiffe://old/"]
    assert list(common.tls_params.cipher_suites) == list(transport_sockets.CIPHERS)
    assert common.tls_params.tls_minimum_protocol_version == 3


def test_tls_settings_of_the_mesh() -> None:
    config = MeshConfig()
    config.mesh_mTLS.min_protocol_version = MeshConfig.TLSConfig.TLSV1_3
    config.mesh_mTLS.cipher_suites.extend(["unheard-of", "AES128-SHA"])
    config.mesh_mTLS.ecdh_curves.extend(["unheard-of", "P-256"])
    socket = transport_sockets.mesh_server(Mesh(complete(config)), PROXY, alpn=())
    found = opened(socket, DownstreamTlsContext).common_tls_context.tls_params
    assert found.tls_minimum_protocol_version == 4
    assert list(found.cipher_suites) == ["AES128-SHA"]
    assert list(found.ecdh_curves) == ["P-256"]


def client(credential: str = "", **settings: Any) -> Any:
    made = ParseDict(settings, ClientTLSSettings())
    return opened(transport_sockets.client(made, credential=credential, alpn=["h2"]))


def test_plain_tls_trusts_the_system() -> None:
    found = client(mode="SIMPLE", sni="a.test")
    assert found.sni == "a.test"
    assert secrets(found) == {"file-root:system": False}
    assert list(found.common_tls_context.alpn_protocols) == ["h2"]


def test_roots_names_and_revocations() -> None:
    found = client(
        mode="SIMPLE",
        caCertificates="/ca",
        caCrl="/crl",
        subjectAltNames=["a.test", "spiffe://x"],
    )
    # Envoy would refuse the cluster if it read the list itself and there was none.
    assert secrets(found) == {"file-root:/ca~/crl": False}
    context = found.common_tls_context.combined_validation_context.default_validation_context
    assert not context.HasField("crl")
    sans = [(each.san_type, each.matcher.exact) for each in context.match_typed_subject_alt_names]
    assert sans == [(2, "a.test"), (3, "a.test"), (3, "spiffe://x")]


def test_mutual_tls_with_files() -> None:
    found = client(mode="MUTUAL", clientCertificate="/c", privateKey="/k", caCertificates="/ca")
    assert secrets(found) == {"file-cert:/c~/k": False, "file-root:/ca": False}


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("SIMPLE", {"kubernetes://x-cacert": False}),
        ("MUTUAL", {"kubernetes://x": False, "kubernetes://x-cacert": False}),
    ],
)
def test_credentials_are_waited_for_as_long_as_envoy_thinks_fit(
    mode: str, names: dict[str, bool]
) -> None:
    assert secrets(client("kubernetes://x", mode=mode, credentialName="x")) == names


def test_a_credential_of_roots_is_not_suffixed_twice() -> None:
    assert secrets(client("kubernetes://x-cacert", mode="SIMPLE")) == {
        "kubernetes://x-cacert": False
    }


def test_without_verification() -> None:
    found = client(mode="SIMPLE", insecureSkipVerify=True, subjectAltNames=["a.test"])
    context = found.common_tls_context.validation_context
    assert MessageToDict(context) == {"trustChainVerification": "ACCEPT_UNTRUSTED"}


def test_names_that_tls_cannot_carry_are_not_sent() -> None:
    long = "a" * 256
    socket = transport_sockets.mesh_client(PROXY, sni=long, identities=[], alpn=[])
    assert opened(socket).sni == ""
    assert client(mode="SIMPLE", sni=long).sni == ""
    assert client(mode="SIMPLE", sni=long[:255]).sni == long[:255]


def test_files_whose_path_begins_with_two_slashes_are_the_agents() -> None:
    found = client(mode="SIMPLE", caCertificates="//ca")
    combined = found.common_tls_context.combined_validation_context
    source = combined.validation_context_sds_secret_config.sds_config
    assert source.WhichOneof("config_source_specifier") == "api_config_source"


def test_others() -> None:
    assert transport_sockets.raw().name == "envoy.transport_sockets.raw_buffer"
    found = transport_sockets.secret("kubernetes://x")
    assert found.name == "kubernetes://x"
    assert not found.sds_config.HasField("initial_fetch_timeout")
