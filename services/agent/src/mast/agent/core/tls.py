"""TLS of Envoy's static clusters, and how contexts find their secrets over SDS."""

from datetime import timedelta
from typing import Final

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsCertificate,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, UpstreamTlsContext
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings
from mast.agent.core import messages
from mast.agent.core.secrets import SYSTEM_ROOTS

SDS_CLUSTER: Final = "sds-grpc"
CERTIFICATE: Final = "default"
ROOTS: Final = "ROOTCA"
_NO_WAIT: Final = timedelta(0)


def sds(name: str) -> SdsSecretConfig:
    """A secret asked of the agent; Envoy waits for it without limit (B5)."""
    service = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=SDS_CLUSTER))
    source = ConfigSource(
        api_config_source=ApiConfigSource(
            api_type=ApiConfigSource.GRPC,
            transport_api_version=ApiVersion.V3,
            grpc_services=[service],
            set_node_on_first_message_only=True,
        ),
        resource_api_version=ApiVersion.V3,
        initial_fetch_timeout=messages.duration(_NO_WAIT),
    )
    return SdsSecretConfig(name=name, sds_config=source)


def upstream_context(settings: ClientTLSSettings) -> UpstreamTlsContext | None:
    """TLS towards a collector; None for plaintext (Istio ClientTLSSettings).

    The server is always verified: without ``ca_certificates`` by the machine's own roots.
    """
    mode = settings.mode
    if mode == ClientTLSSettings.DISABLE:
        return None
    common = CommonTlsContext()
    validation = CertificateValidationContext(
        match_typed_subject_alt_names=[_uri_or_dns(name) for name in settings.subject_alt_names]
    )
    if mode == ClientTLSSettings.ISTIO_MUTUAL:
        common.tls_certificate_sds_secret_configs.append(sds(CERTIFICATE))
        common.combined_validation_context.default_validation_context.CopyFrom(validation)
        common.combined_validation_context.validation_context_sds_secret_config.CopyFrom(sds(ROOTS))
    else:
        roots = settings.ca_certificates or SYSTEM_ROOTS
        validation.trusted_ca.CopyFrom(DataSource(filename=roots))
        common.validation_context.CopyFrom(validation)
        if mode == ClientTLSSettings.MUTUAL:
            common.tls_certificates.append(
                TlsCertificate(
                    certificate_chain=DataSource(filename=settings.client_certificate),
                    private_key=DataSource(filename=settings.private_key),
                )
            )
    return UpstreamTlsContext(common_tls_context=common, sni=settings.sni)


def _uri_or_dns(name: str) -> SubjectAltNameMatcher:
    kind = SubjectAltNameMatcher.URI if "://" in name else SubjectAltNameMatcher.DNS
    return SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))
