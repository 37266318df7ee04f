"""``CitadelLedger``: what was issued, for administrators (citadel-and-agent.md A12)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc
from grpc import aio

from mast.citadel.api.status import Context
from mast.citadel.core.issued import selected
from mast.common.etcd import EtcdError
from mastapi.citadel.v1 import issued_pb2, issued_pb2_grpc

SERVICE = "mastapi.citadel.v1.CitadelLedger"


@dataclass(frozen=True)
class LedgerService(issued_pb2_grpc.CitadelLedgerServicer):
    """``records`` gives everything that is on record."""

    records: Callable[[], Awaitable[Sequence[issued_pb2.IssuedCertificate]]]

    async def ListIssued(
        self, request: issued_pb2.ListIssuedRequest, context: Context
    ) -> issued_pb2.ListIssuedResponse:
        """Certificates that have not ended, newest first; UNAVAILABLE if etcd does not answer."""
        try:
            records = await self.records()
        except EtcdError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        found, left_out = selected(records, request.identity, request.serial, request.limit)
        return issued_pb2.ListIssuedResponse(certificates=found, left_out=left_out)


def register(server: aio.Server, service: LedgerService) -> None:
    """Add the service to a server."""
    issued_pb2_grpc.add_CitadelLedgerServicer_to_server(service, server)
