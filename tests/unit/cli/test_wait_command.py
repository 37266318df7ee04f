"""wait: what counts as distributed, with a Galley and Pilots that say what tests want."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc.aio
import pytest
from aiohttp import web
from typer.testing import CliRunner

from mast.cli.errors import CommandError
from mast.cli.main import app
from mast.cli.wait_command import Condition, Progress, Wanted, waited
from mast.common import kinds
from mastapi.galley.v1 import config_pb2, config_pb2_grpc

(VIRTUAL_SERVICE,) = kinds.named("virtualservice")
DONE = {"proxy": "a.shop", "revision": 9, "behind": [], "rejected": []}


class Galley(config_pb2_grpc.ConfigServiceServicer):
    """Has one VirtualService, or none, at revision 9."""

    def __init__(self, stored: bool) -> None:
        self._stored = stored

    async def List(self, request: Any, context: Any) -> config_pb2.ListResponse:
        del request, context
        found = config_pb2.Object(kind="VirtualService")
        found.metadata.name, found.metadata.namespace = "reviews", "shop"
        found.metadata.generation, found.metadata.resource_version = 2, "7"
        return config_pb2.ListResponse(objects=[found] if self._stored else [], revision=9)


@asynccontextmanager
async def control_plane(stored: bool, *rows: Any) -> AsyncIterator[tuple[list[str], str]]:
    """Addresses of a Pilot for each row, and of Galley."""
    server = grpc.aio.server()
    config_pb2_grpc.add_ConfigServiceServicer_to_server(Galley(stored), server)
    galley = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    runners = []
    pilots = []
    for row in rows:

        async def page(_: web.Request, row: Any = row) -> web.Response:
            return web.json_response([row] if row else [])

        application = web.Application()
        application.router.add_get("/debug/config_distribution", page)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        pilots.append(f"127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield pilots, f"127.0.0.1:{galley}"
    finally:
        for each in runners:
            await each.cleanup()
        await server.stop(None)


@pytest.mark.parametrize(
    ("stored", "condition", "generation", "rows", "threshold", "expected"),
    [
        pytest.param(True, "distribution", 0, [DONE, DONE], 1.0, Progress(2, 2), id="everywhere"),
        pytest.param(True, "distribution", 2, [DONE], 1.0, Progress(1, 1), id="this-generation"),
        pytest.param(True, "distribution", 3, [DONE], 1.0, None, id="generation-to-come"),
        pytest.param(False, "distribution", 0, [DONE], 1.0, None, id="not-stored"),
        pytest.param(True, "distribution", 0, [None], 1.0, Progress(0, 0), id="no-proxies"),
        pytest.param(
            True,
            "distribution",
            0,
            [DONE, {**DONE, "proxy": "b", "revision": 6}],
            0.5,
            Progress(1, 2, ("b: not sent yet",)),
            id="half-is-enough",
        ),
        pytest.param(
            True,
            "distribution",
            0,
            [{**DONE, "behind": ["cds", "lds"]}, {**DONE, "proxy": "b", "rejected": ["rds"]}],
            1.0,
            Progress(0, 2, ("a.shop: has not acknowledged cds, lds", "b: rejects rds")),
            id="behind",
        ),
        pytest.param(False, "delete", 0, [DONE], 1.0, Progress(1, 1), id="deleted"),
        pytest.param(True, "delete", 0, [DONE], 1.0, None, id="not-deleted"),
        pytest.param(
            False,
            "delete",
            0,
            [{**DONE, "revision": 8}],
            1.0,
            Progress(0, 1, ("a.shop: not sent yet",)),
            id="proxies-have-it-still",
        ),
    ],
)
async def test_waiting(
    stored: bool, condition: str, generation: int, rows: Any, threshold: float, expected: Any
) -> None:
    wanted = Wanted(VIRTUAL_SERVICE, "reviews", "shop", generation)
    limit = timedelta(milliseconds=1)
    async with control_plane(stored, *rows) as (pilots, galley):
        told = await waited(wanted, Condition(condition), pilots, galley, limit, threshold, True)
    assert told == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["virtualservice"], "name one object"),
        (["virtualservice/a", "b"], "name one object"),
        (["nothing", "a"], "no kind that is known"),
        (["virtualservice", "a", "--timeout", "soon", "--pilot", "x"], "--timeout"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["wait", *arguments, "--server", "x"])
    assert isinstance(result.exception, CommandError)
    assert (result.exception.status, words in str(result.exception)) == (2, True)
