"""ca issued, ca join-token: what Citadel issued, and secrets for machines without a platform."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC
from typing import Annotated, Any

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from mast.cli.ca_commands import Output, Socket, address_of
from mast.cli.connect import citadel_at, ledger_at
from mast.cli.output import Format, note, show
from mast.common.process.settings import duration
from mastapi.citadel.v1 import citadel_pb2, issued_pb2

COLUMNS = ("SERIAL", "NAMES", "NOT AFTER", "KEY", "RECOGNISED BY", "PEER")
_SECONDS = 30


def register(ca: typer.Typer) -> None:
    """Add this module's commands to those of ``ca``."""
    ca.command()(issued)
    ca.command("join-token")(join_token)


def issued(
    identity: Annotated[
        str, typer.Argument(help="A name of the certificate; with * at its end, its beginning.")
    ] = "",
    serial: Annotated[str, typer.Option(help="Serial number, hexadecimal.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most certificates to show.")] = 1000,
    citadel: Socket = "",
    output: Output = Format.TABLE,
) -> None:
    """Show certificates that have not ended, the newest first."""
    request = issued_pb2.ListIssuedRequest(identity=identity, serial=serial, limit=limit)

    async def fetch() -> issued_pb2.ListIssuedResponse:
        async with ledger_at(address_of(citadel)) as stub:
            return await stub.ListIssued(request, timeout=_SECONDS)

    found = asyncio.run(fetch())
    show(data_of(found.certificates), output, COLUMNS, rows_of(found.certificates))
    if found.left_out and output is Format.TABLE:
        note(f"{found.left_out} more: raise --limit or name an identity.")


def join_token(
    namespace: Annotated[str, typer.Argument(help="Namespace of the workload.")],
    account: Annotated[str, typer.Argument(help="Its service account.")],
    ttl: Annotated[str, typer.Option(help="How long it may be redeemed, at most 24h.")] = "10m",
    citadel: Socket = "",
) -> None:
    """Print a secret that a machine exchanges, once, for its first certificate."""
    try:
        life = duration(ttl)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ttl") from error
    request = citadel_pb2.CreateJoinTokenRequest(namespace=namespace, service_account=account)
    request.ttl.FromTimedelta(life)

    async def fetch() -> str:
        async with citadel_at(address_of(citadel)) as stub:
            return (await stub.CreateJoinToken(request, timeout=_SECONDS)).token

    sys.stdout.write(asyncio.run(fetch()) + "\n")


def rows_of(found: Sequence[issued_pb2.IssuedCertificate]) -> Sequence[Sequence[str]]:
    """A row for each certificate."""
    return [
        [
            each.serial,
            ", ".join(each.names),
            _text(each.not_after),
            each.key,
            each.authenticator + (f" for {each.caller}" if each.caller else ""),
            each.peer,
        ]
        for each in found
    ]


def data_of(found: Sequence[issued_pb2.IssuedCertificate]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "serial": each.serial,
            "names": list(each.names),
            "notBefore": each.not_before.ToJsonString(),
            "notAfter": each.not_after.ToJsonString(),
            "key": each.key,
            "issuer": each.issuer,
            "authenticator": each.authenticator,
            "caller": each.caller,
            "peer": each.peer,
        }
        for each in found
    ]


def _text(at: Timestamp) -> str:
    return at.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
