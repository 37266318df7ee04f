"""An Envoy in front of a program, asking a scripted Mixer."""

from collections.abc import AsyncIterator, Callable
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
    Application,
    Pods,
    ScriptedEngine,
    admit_all,
    application,
    bootstrap,
    mesh,
    mixer,
    spot,
)

PLACE = {"POD_NAME": "ratings-1", "POD_NAMESPACE": "default", "INSTANCE_IP": "127.0.0.1"}


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

    async def get(self, path: str = "/", **headers: str) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers of a response."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.get(self.url + path, headers=named) as response:
            found = {name.lower(): value for name, value in response.headers.items()}
            return response.status, await response.text(), found


@asynccontextmanager
async def running(
    directory: Path,
    engine: ScriptedEngine,
    *,
    client: ClientConfig | None = None,
    concurrency: int = 1,
    mixer_port: int = 0,
    response: str = "",
    **settings: object,
) -> AsyncIterator[Bench]:
    """A bench; ``mixer_port`` is where nobody or somebody else is Mixer."""
    config_of_clients = client or ClientConfig()
    annotations = settings.pop("annotations", None)
    where = spot(ANNOTATIONS=annotations) if annotations else spot()

    def register(server: grpc.aio.Server) -> None:
        ext_authz.register(server, engine, Pods(), lambda: config_of_clients, admit_all(), clock)

    extensions = MixerExtensions(mesh(**settings))
    async with application(response) as app, mixer(register) as port:
        config = bootstrap(extensions, where, mixer_port or port, app.port)
        async with (
            envoy_server(config, directory, concurrency=concurrency, environment=PLACE) as envoy,
            aiohttp.ClientSession() as client,
        ):
            yield Bench(engine, app, envoy, client)


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


DENIAL = CheckVerdict(
    Status(7, "denyreviewsv3handler.default:Not allowed"), timedelta(seconds=5), 1000, ()
)
