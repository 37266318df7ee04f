"""The agent's secret discovery service for tests: secrets by name, over a port."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage
from grpc import aio

from mast.common.process.serving import Listen, serving
from mast.pilot.core.names import SDS_CERTIFICATE, SDS_ROOTS
from mast.pilot.core.xds.resources import SDS
from tests.support.pki import Ca, Pair

_SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"


def certificate(name: str, pair: Pair) -> Secret:
    """A certificate with its key."""
    made = Secret(name=name)
    made.tls_certificate.certificate_chain.inline_bytes = pair.chain
    made.tls_certificate.private_key.inline_bytes = pair.key
    return made


def roots(name: str, *authorities: Ca) -> Secret:
    """Roots that certificates are verified with."""
    made = Secret(name=name)
    made.validation_context.trusted_ca.inline_bytes = b"".join(each.pem for each in authorities)
    return made


def workload(ca: Ca, identity: str) -> Mapping[str, Secret]:
    """What an agent serves to the proxy of a workload."""
    return {
        SDS_CERTIFICATE: certificate(SDS_CERTIFICATE, ca.leaf(uris=[identity])),
        SDS_ROOTS: roots(SDS_ROOTS, ca),
    }


@asynccontextmanager
async def sds_server(secrets: Mapping[str, Secret]) -> AsyncIterator[int]:
    """Serve secrets; gives the port. A name that is not there is never answered."""

    async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[bytes]:
        del context
        async for request in requests:
            found = [secrets[each] for each in request.resource_names if each in secrets]
            if found and not request.response_nonce:
                yield _response(found)
        await asyncio.Event().wait()

    handlers = {
        "StreamSecrets": grpc.stream_stream_rpc_method_handler(
            stream, request_deserializer=DiscoveryRequest.FromString
        )
    }

    def register(server: aio.Server) -> None:
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))

    listen = [Listen("127.0.0.1:0", name="sds")]
    async with serving(register, listen, services=(_SERVICE,)) as running:
        yield running.ports[0]


def _response(found: list[Secret]) -> bytes:
    resources = [
        AnyMessage(type_url=SDS, value=each.SerializeToString(deterministic=True)) for each in found
    ]
    made = DiscoveryResponse(version_info="1", resources=resources, type_url=SDS, nonce="1")
    return made.SerializeToString()
