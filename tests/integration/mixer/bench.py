"""An Envoy in front of a program, asking a scripted Mixer."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import grpc.aio

from mast.mixer.api import ext_authz
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import (
    CheckVerdict,
    Condition,
    Reference,
    Status,
)
from mast.mixer.core.values import Attributes
from mast.pilot.core.mixer.filters import MixerExtensions
from tests.support.envoy_server import EnvoyServer, envoy_server
from tests.support.mixer_mesh import (
    POLICY,
    TELEMETRY,
    Application,
    Pods,
    ScriptedEngine,
    Stand,
    admit_all,
    allow,
    application,
    mesh,
    mixer,
    spot,
    with_stands,
)

PLACE = {"POD_NAME": "ratings-1", "POD_NAMESPACE": "default", "INSTANCE_IP": "127.0.0.1"}


LIFETIME = timedelta(minutes=1)
"""How long proxies may keep verdicts: longer than any test may take."""

CASE = "x-case"
STATIC = (
    Reference("context.reporter.kind", None, Condition.EXACT),
    Reference("destination.namespace", None, Condition.EXACT),
    Reference("destination.uid", None, Condition.EXACT),
    Reference("destination.labels", None, Condition.ABSENCE),
    Reference("source.uid", None, Condition.ABSENCE),
    Reference("source.ip", None, Condition.EXACT),
)


def clock() -> datetime:
    """A time."""
    return datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Bench:
    """An Envoy in front of a program, asking a scripted Mixer."""

    engine: ScriptedEngine
    app: Application
    envoy: EnvoyServer
    client: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.envoy.ports['http']}"

    async def get(
        self, path: str = "/", listener: str = "http", **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers of a response."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{self.envoy.ports[listener]}{path}"
        async with self.client.get(url, headers=named, allow_redirects=False) as response:
            found = {name.lower(): value for name, value in response.headers.items()}
            return response.status, await response.text(), found

    def checked(self, case: str) -> list[Attributes]:
        """The checks of requests of a case (see `by_case`)."""
        return [each for each in self.engine.checked if header(each, CASE) == case]


@asynccontextmanager
async def running(
    directory: Path,
    engine: ScriptedEngine,
    *,
    client: ClientConfig | None = None,
    concurrency: int = 1,
    mixer_port: int = 0,
    response: str = "",
    stands: Sequence[Stand] = (),
) -> AsyncIterator[Bench]:
    """A bench; ``mixer_port`` is where nobody or somebody else is Mixer.

    ``stands`` are places other than that of an inbound listener of a sidecar.
    """
    config_of_clients = client or ClientConfig()
    found = stands or [Stand(extensions=MixerExtensions(mesh()), where=spot())]

    def register(server: grpc.aio.Server) -> None:
        ext_authz.register(
            server, engine, Pods(), lambda: config_of_clients, admit_all(), clock, LIFETIME
        )

    async with application(response) as app, mixer(register) as port:
        config = with_stands(
            found, dict.fromkeys((POLICY, TELEMETRY), mixer_port or port), app.port
        )
        async with (
            envoy_server(config, directory, concurrency=concurrency, environment=PLACE) as envoy,
            aiohttp.ClientSession() as client,
        ):
            yield Bench(engine, app, envoy, client)


def header(found: Attributes, name: str) -> str | None:
    """A header of a request."""
    headers = found.get("request.headers")
    return headers.get(name) if isinstance(headers, Mapping) else None


def by_case(verdicts: Mapping[str, CheckVerdict]) -> Callable[[Attributes], CheckVerdict]:
    """Verdicts by the header ``x-case``, which they depend on: so many tests share one Envoy."""

    def answer(found: Attributes) -> CheckVerdict:
        case = header(found, CASE)
        verdict = verdicts.get(case or "", allow(uses=0))
        how = Condition.EXACT if case else Condition.ABSENCE
        on_case = Reference("request.headers", CASE, how)
        return replace(verdict, referenced=(*verdict.referenced, on_case))

    return answer


def by_user(verdict: Callable[[str], CheckVerdict]) -> Callable[[Attributes], CheckVerdict]:
    """Verdicts that depend on the header ``x-user``."""

    def answer(attributes: Attributes) -> CheckVerdict:
        headers = attributes["request.headers"]
        assert isinstance(headers, dict)
        user = headers.get("x-user")
        how = Condition.ABSENCE if user is None else Condition.EXACT
        references = (*STATIC, Reference("request.headers", "x-user", how))
        return replace(verdict(user or ""), referenced=references)

    return answer


DENIAL = CheckVerdict(Status(7, "denyreviewsv3handler.default:Not allowed"), LIFETIME, 1000, ())
