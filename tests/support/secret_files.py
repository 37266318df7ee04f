"""Secrets in files in place of the agent's secret discovery service, for static configuration."""

import json
from pathlib import Path

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import ConfigSource, PathConfigSource
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)

from mast.pilot.core.names import SDS_CERTIFICATE, SDS_ROOTS
from mast.pilot.core.packing import packed
from tests.support.pki import Ca, Pair, pem

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def write_secrets(directory: Path, ca: Ca, own: Pair) -> None:
    """Files with the workload's certificate and its roots, as Envoy reads secrets."""
    chain = {"inline_string": own.chain.decode()}
    certificate = {"certificate_chain": chain, "private_key": {"inline_string": own.key.decode()}}
    roots = {"trusted_ca": {"inline_string": pem(ca.certificate).decode()}}
    secrets = {
        SDS_CERTIFICATE: {"tls_certificate": certificate},
        SDS_ROOTS: {"validation_context": roots},
    }
    for name, secret in secrets.items():
        resource = {"@type": _TYPE, "name": name, **secret}
        _file(directory, name).write_text(json.dumps({"resources": [resource]}))


def with_secret_files(each: Listener, directory: Path) -> Listener:
    """A listener that reads its secrets from the files."""
    result = Listener()
    result.CopyFrom(each)
    for chain in result.filter_chains:
        if chain.HasField("transport_socket"):
            _read_files(chain.transport_socket, DownstreamTlsContext(), directory)
    return result


def cluster_with_secret_files(each: Cluster, directory: Path) -> Cluster:
    """A cluster that reads its secrets from the files."""
    result = Cluster()
    result.CopyFrom(each)
    sockets = [match.transport_socket for match in result.transport_socket_matches]
    if result.HasField("transport_socket"):
        sockets.append(result.transport_socket)
    for socket in sockets:
        _read_files(socket, UpstreamTlsContext(), directory)
    return result


def _read_files(
    socket: TransportSocket, context: DownstreamTlsContext | UpstreamTlsContext, directory: Path
) -> None:
    if not socket.typed_config.Unpack(context):
        return
    for secret in _secrets(context.common_tls_context):
        path = PathConfigSource(path=str(_file(directory, secret.name)))
        secret.sds_config.CopyFrom(ConfigSource(path_config_source=path))
    socket.typed_config.CopyFrom(packed(context))


def _secrets(common: CommonTlsContext) -> list[SdsSecretConfig]:
    found = list(common.tls_certificate_sds_secret_configs)
    if common.HasField("combined_validation_context"):
        found.append(common.combined_validation_context.validation_context_sds_secret_config)
    return found


def _file(directory: Path, name: str) -> Path:
    return directory / f"{name}.json"
