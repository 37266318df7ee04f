"""Mixer's page for operators: the configuration in force and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from aiohttp import web
from google.protobuf.json_format import MessageToDict

from mast.common.process.monitoring import Handler
from mastapi.status.v1.status_pb2 import MixerStatus

CONFIGURATION = "/debug/configz"


def configuration(status: Callable[[], MixerStatus | None]) -> Handler:
    """The status of this replica as JSON, for callers on the same machine; 503 before there is one.

    Objects name expressions and addresses, which are nobody else's business.
    """

    async def page(request: web.Request) -> web.Response:
        if request.remote is None or not ip_address(request.remote).is_loopback:
            return web.Response(status=403, text="only from loopback\n")
        found = status()
        if found is None:
            return web.Response(status=503, text="no configuration is in force yet\n")
        return web.json_response(
            MessageToDict(found, always_print_fields_with_no_presence=True),
        )

    return page
