"""ca: the certificate authorities of a mesh, and how one follows another."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, timedelta
from typing import Annotated, Any

import grpc
import grpc.aio
import typer
from google.protobuf.timestamp_pb2 import Timestamp

from mast.cli.connect import citadel_at
from mast.cli.errors import CommandError
from mast.cli.local.home import Home
from mast.cli.output import Format, note, show
from mastapi.citadel.v1 import citadel_pb2
from mastapi.citadel.v1.citadel_pb2_grpc import CitadelAdminStub

Call = Callable[[CitadelAdminStub], Awaitable[citadel_pb2.Authorities]]

Socket = Annotated[
    str,
    typer.Option(
        "--citadel",
        envvar="MAST_CITADEL",
        help="Citadel's administration socket, unix:/PATH; by default that of this machine's mesh.",
    ),
]
Output = Annotated[Format, typer.Option("-o", "--output", help="Format.")]
Force = Annotated[bool, typer.Option(help="Do it whoever may not be ready.")]
Slot = Annotated[str, typer.Argument(help="Slot, or the first digits of its id.")]
Wait = Annotated[
    int, typer.Option(help="Seconds to wait for the mesh to be ready; 0: refuse at once.")
]

COLUMNS = ("SLOT", "STATE", "NOT BEFORE", "NOT AFTER", "TRUSTED UNTIL", "KEY", "REVOKED")
_SECONDS = 30
_AGAIN = timedelta(seconds=1)

EXAMPLES = """\b
Examples:
  mastctl ca status
  mastctl ca prepare                     (a new root that everybody gets to know)
  mastctl ca activate --wait 120         (it signs, once the mesh trusts it)
  mastctl ca taint                       (the old one's certificates are replaced at once)
  mastctl ca revoke --serial 3f2a…       (a certificate is refused from now on)
  mastctl ca bundle > roots.pem
"""

commands = typer.Typer(
    help="The certificate authorities of the mesh.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add this module's commands, and those on what was issued."""
    from mast.cli import issued_commands  # made of parts of this module

    issued_commands.register(commands)
    app.add_typer(commands, name="ca")


@commands.command()
def status(citadel: Socket = "", output: Output = Format.TABLE) -> None:
    """Show every CA, and how many of those who are connected trust what is published."""
    request = citadel_pb2.GetAuthoritiesRequest()
    tell(_ask(citadel, lambda stub: stub.GetAuthorities(request, timeout=_SECONDS)), output)


@commands.command()
def prepare(citadel: Socket = "", output: Output = Format.TABLE) -> None:
    """Make a new CA: trusted from now on, it signs nothing before it is activated."""
    request = citadel_pb2.PrepareAuthorityRequest()
    tell(_ask(citadel, lambda stub: stub.PrepareAuthority(request, timeout=_SECONDS)), output)


@commands.command()
def activate(
    slot: Slot = "",
    force: Force = False,
    wait: Wait = 0,
    citadel: Socket = "",
    output: Output = Format.TABLE,
) -> None:
    """Have the prepared CA sign; refused while parts of the mesh do not trust it."""
    request = citadel_pb2.ActivateAuthorityRequest(slot=slot, force=force)
    call: Call = lambda stub: stub.ActivateAuthority(request, timeout=_SECONDS)  # noqa: E731
    tell(_ask(citadel, call, wait), output)


@commands.command()
def taint(slot: Slot = "", citadel: Socket = "", output: Output = Format.TABLE) -> None:
    """Have every certificate of an old CA replaced at once; then the CA is dropped."""
    request = citadel_pb2.TaintAuthorityRequest(slot=slot)
    tell(_ask(citadel, lambda stub: stub.TaintAuthority(request, timeout=_SECONDS)), output)


@commands.command()
def revoke(
    slot: Slot = "",
    serial: Annotated[
        list[str] | None,
        typer.Option(help="Serial number, hexadecimal; repeat it. Revokes certificates of SLOT."),
    ] = None,
    force: Force = False,
    wait: Wait = 0,
    citadel: Socket = "",
    output: Output = Format.TABLE,
) -> None:
    """Stop trusting a prepared or tainted CA; with --serial, certificates that it issued."""
    call: Call
    if serial:
        listed = citadel_pb2.RevokeCertificatesRequest(serials=serial, slot=slot)
        call = lambda stub: stub.RevokeCertificates(listed, timeout=_SECONDS)  # noqa: E731
    else:
        request = citadel_pb2.RevokeAuthorityRequest(slot=slot, force=force)
        call = lambda stub: stub.RevokeAuthority(request, timeout=_SECONDS)  # noqa: E731
    tell(_ask(citadel, call, wait), output)


@commands.command()
def bundle(citadel: Socket = "") -> None:
    """Print the roots that vouch for the mesh's identities, as PEM."""

    async def fetch() -> str:
        async with citadel_at(address_of(citadel)) as stub:
            request = citadel_pb2.GetBundleRequest()
            return (await stub.GetBundle(request, timeout=_SECONDS)).roots_pem

    sys.stdout.write(asyncio.run(fetch()))


def address_of(citadel: str) -> str:
    """Where to ask: as told, else the mesh of this machine."""
    return citadel or Home.default().running().addresses["citadel-admin"]


def _ask(citadel: str, call: Call, wait: int = 0) -> citadel_pb2.Authorities:
    return asyncio.run(_asked(address_of(citadel), call, timedelta(seconds=wait)))


async def _asked(address: str, call: Call, patience: timedelta) -> citadel_pb2.Authorities:
    """The answer; what the mesh is not ready for is asked again for as long as patience lasts."""
    clock = asyncio.get_running_loop().time
    until = clock() + patience.total_seconds()
    async with citadel_at(address) as stub:
        while True:
            try:
                return await call(stub)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise
                if clock() >= until:
                    raise CommandError(error.details() or "not possible now") from error
            await asyncio.sleep(_AGAIN.total_seconds())


def tell(seen: citadel_pb2.Authorities, format: Format) -> None:
    """Print the CAs; as a table, notes say who trusts them and what the next step lacks."""
    show(data_of(seen), format, COLUMNS, rows_of(seen))
    if format is not Format.TABLE:
        return
    if seen.plugged_in:
        note("The CA is plugged in: it is replaced by replacing its files.")
    known = seen.knowledge
    note(
        f"{known.holding} of {known.connected} that are connected confirmed the roots "
        f"(bundle {seen.sequence})" + (f", {known.silent} never confirm" if known.silent else "")
    )
    if known.problem:
        note(f"The next step waits: {known.problem}")


def rows_of(seen: citadel_pb2.Authorities) -> Sequence[Sequence[str]]:
    """A row for each CA."""
    return [
        [
            each.id,
            state_of(each),
            _text(each.not_before),
            _text(each.not_after),
            _text(each.retires_at) if each.HasField("retires_at") else "-",
            each.key_manager or "-",
            str(each.revoked),
        ]
        for each in seen.slots
    ]


def data_of(seen: citadel_pb2.Authorities) -> dict[str, Any]:
    """The same for programs."""
    known = seen.knowledge
    return {
        "trustDomain": seen.trust_domain,
        "pluggedIn": seen.plugged_in,
        "sequence": seen.sequence,
        "slots": [
            {
                "id": each.id,
                "state": citadel_pb2.Authority.Slot.State.Name(each.state),
                "tainted": each.tainted,
                "subject": each.subject,
                "notBefore": each.not_before.ToJsonString(),
                "notAfter": each.not_after.ToJsonString(),
                "trustedUntil": (
                    each.retires_at.ToJsonString() if each.HasField("retires_at") else None
                ),
                "keyManager": each.key_manager,
                "revoked": each.revoked,
            }
            for each in seen.slots
        ],
        "connected": known.connected,
        "confirmed": known.holding,
        "silent": known.silent,
        "lagging": list(known.lagging),
        "reporters": list(known.reporters),
        "problem": known.problem,
    }


def state_of(slot: citadel_pb2.Authorities.Slot) -> str:
    """The state as people read it."""
    name = citadel_pb2.Authority.Slot.State.Name(slot.state)
    return f"{name}, TAINTED" if slot.tainted else name


def _text(at: Timestamp) -> str:
    return at.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
