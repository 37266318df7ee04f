"""proxy-status: what proxies were sent and what they said about it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import aiohttp
import typer

from mast.cli.errors import CommandError
from mast.cli.local.home import Home
from mast.cli.output import Format, show


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("proxy-status")(proxy_status)
    app.command("ps", hidden=True)(proxy_status)


def proxy_status(
    pilot: Annotated[
        str, typer.Option(envvar="MAST_PILOT", help="Pilot's HTTP address, host:port.")
    ] = "",
    output: Annotated[Format, typer.Option("-o", "--output", help="Format.")] = Format.TABLE,
) -> None:
    """Show for every connected proxy whether it has the configuration meant for it."""
    address = pilot or Home.default().running().addresses["pilot-http"]
    proxies = asyncio.run(sync_status(address))
    rows = [
        [
            proxy["proxy"],
            proxy.get("cluster_id", "-"),
            *(_state(proxy, kind) for kind in ("cluster", "listener", "endpoint", "route")),
            address,
            proxy.get("istio_version", "-"),
        ]
        for proxy in proxies
    ]
    columns = ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "PILOT", "VERSION"]
    show(proxies, output, columns, rows)


def _state(proxy: dict[str, Any], kind: str) -> str:
    sent, acked = proxy.get(f"{kind}_sent", ""), proxy.get(f"{kind}_acked", "")
    if not sent:
        return "NOT SENT"
    return "SYNCED" if sent == acked else "STALE"


async def sync_status(address: str) -> list[dict[str, Any]]:
    """Pilot's /debug/syncz; CommandError if Pilot does not answer."""
    url = f"http://{address}/debug/syncz"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(url, raise_for_status=True) as answer,
        ):
            return list(await answer.json())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommandError(
            f"Pilot at {address} does not answer: {error}", hint="check with: mastctl status"
        ) from error
