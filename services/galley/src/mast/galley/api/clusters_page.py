"""``/debug/clusterz``: the clusters that this replica reads, as Istio's page of this name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address

from aiohttp import web

from mast.common.process.monitoring import Handler
from mast.galley.core.remote_clusters import Status


def clusters_page(statuses: Callable[[], Iterable[Status]], replica: str, revision: str) -> Handler:
    """A JSON list; who asks from another machine is turned away: addresses are in the details."""

    async def page(request: web.Request) -> web.Response:
        if not _is_here(request.remote or ""):
            return web.Response(status=403, text="debug pages are for callers on this machine\n")
        return web.json_response(
            [
                {
                    "id": each.cluster,
                    "secretName": each.secret,
                    "syncStatus": each.sync,
                    "istiod": replica,
                    "revision": revision,
                    **({"detail": each.detail} if each.detail else {}),
                }
                for each in statuses()
            ]
        )

    return page


def _is_here(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
