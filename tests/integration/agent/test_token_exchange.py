"""The security token service of an agent and an endpoint behind it (RFC 8693, `--stsPort`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
from aiohttp import web

from mast.agent.api.exchange import exchange_server
from mast.agent.core.exchange import ACCESS_TOKEN, GRANT, JWT
from mast.agent.store.token_endpoint import TokenEndpoint
from tests.integration.agent.control_plane import ControlPlane
from tests.integration.agent.running import agent, environment, loopback

FIRST, SECOND, OWN = "A1", "A2", "T"
SHOWN = {"grant_type": GRANT, "subject_token": "T", "subject_token_type": JWT}


class Endpoint:
    """Gives a numbered token for an audience, and refuses everything else."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []

    async def token(self, request: web.Request) -> web.Response:
        self.asked.append({key: str(value) for key, value in (await request.post()).items()})
        if self.asked[-1].get("audience") != "store":
            body = {"error": "invalid_target", "error_description": "unknown audience"}
            return web.json_response(body, status=400)
        answer = {"access_token": f"A{len(self.asked)}", "expires_in": 3600}
        return web.json_response({**answer, "issued_token_type": ACCESS_TOKEN})


@asynccontextmanager
async def endpoint() -> AsyncIterator[tuple[Endpoint, str]]:
    served = Endpoint()
    app = web.Application()
    app.router.add_post("/token", served.token)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield served, f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    finally:
        await runner.cleanup()


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2030, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


@asynccontextmanager
async def service(url: str, clock: Clock) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    async with (
        aiohttp.ClientSession() as http,
        exchange_server(TokenEndpoint(http, url, clock.now), "127.0.0.1", 0) as port,
    ):
        yield http, f"http://127.0.0.1:{port}"


async def test_tokens_are_exchanged_and_kept() -> None:
    clock = Clock()
    async with endpoint() as (behind, url), service(url, clock) as (http, base):

        async def had(**fields: str) -> tuple[int, dict[str, object]]:
            async with http.post(f"{base}/token", data={**SHOWN, **fields}) as answer:
                return answer.status, await answer.json()

        status, found = await had(audience="store")
        assert (status, found["access_token"], found["token_type"]) == (200, FIRST, "Bearer")
        assert behind.asked == [{**SHOWN, "audience": "store"}]
        assert (await had(audience="store"))[1]["access_token"] == FIRST
        clock.time += timedelta(minutes=59)  # the token's life but for a minute
        assert (await had(audience="store"))[1]["access_token"] == SECOND
        assert await had(audience="elsewhere") == (
            400,
            {"error": "invalid_target", "error_description": "unknown audience"},
        )
        assert (await had())[1]["access_token"] == OWN, "nothing else was asked for"
        async with http.get(f"{base}/stsStatus") as answer:
            (kept,) = (await answer.json())["tokens"]
            assert "A2" not in str(kept)
        async with http.get(f"{base}/token") as answer:
            assert answer.status == 400
        async with http.post(
            f"{base}/token",
            data=b"\xff",
            headers={"content-type": "application/x-www-form-urlencoded; charset=none"},
        ) as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "invalid_request")


async def test_an_endpoint_that_is_away_or_missing_is_named() -> None:
    for url, reason in (("http://127.0.0.1:1/t", "does not answer"), ("", "names one")):
        async with (
            service(url, Clock()) as (http, base),
            http.post(f"{base}/token", data={**SHOWN, "scope": "s"}) as answer,
        ):
            assert answer.status == 400
            found = await answer.json()
            assert found["error"] == "invalid_target"
            assert reason in found["error_description"]


async def test_an_agent_offers_it(plane: ControlPlane, work) -> None:
    """Envoy is told where by metadata; without the flag nobody listens."""
    async with endpoint() as (_, url):
        env = environment(plane, loopback(), MAST_TOKEN_EXCHANGE_URL=url, DISABLE_ENVOY="true")
        arguments = ("--stsPort", "15463", "--log_output_level", "debug")
        async with agent(work, env, arguments=arguments) as running:
            await running.logged("service.listening", lambda each: each["name"] == "token-exchange")
            async with running.http.post(
                f"http://{running.address}:15463/token", data={**SHOWN, "audience": "store"}
            ) as answer:
                assert (await answer.json())["access_token"] == FIRST
        assert '"T"' not in str(running.log)
    async with agent(work, {**env, "MAST_TOKEN_EXCHANGE_URL": "http://sts.test"}) as running:
        assert await running.ended() == 2
