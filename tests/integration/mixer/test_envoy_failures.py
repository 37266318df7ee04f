"""What a real Envoy does while Mixer cannot be asked (mixer_proxy.md A39, A40, K2; mixer.md L 52).

One Envoy has a listener for every setting; the Mixers that they ask are dead, refuse every call,
answer nothing, or have no verdict.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from envoy.service.auth.v3 import external_auth_pb2_grpc
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from mast.mixer.api import access_log, ext_authz
from mast.mixer.api.errors import Context
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import CheckFailed, CheckVerdict
from mast.mixer.core.values import Attributes
from mast.pilot.core.filters.extensions import Direction
from mast.pilot.core.mixer.filters import MixerExtensions
from mast.pilot.core.model.proxy import ProxyType
from tests.integration.mixer.bench import PLACE, clock
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.http_probe import fetch
from tests.support.mixer_mesh import (
    MIXER_PORT,
    TELEMETRY,
    Pods,
    ScriptedEngine,
    Stand,
    admit_all,
    application,
    mesh,
    mixer,
    spot,
    with_stands,
)
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEAD, REFUSING, SILENT, FAILING = (
    f"{name}.istio-system.svc.cluster.local" for name in ("dead", "refusing", "silent", "failing")
)
DELAY = 200
OPEN, CLOSED = {"policy_check_fail_open": True}, {"policy_check_fail_open": False}
OUT = Direction.OUTBOUND
ONCE = {"checkRetries": "0"}


@dataclass(frozen=True)
class Setting:
    """What a mesh and the annotations of a pod say, and what becomes of requests and bytes."""

    mixer: str = DEAD
    mesh: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=lambda: ONCE)
    direction: Direction = Direction.INBOUND
    kind: ProxyType = ProxyType.SIDECAR
    deadline: timedelta = timedelta(seconds=30)
    status: int = 200
    body: str = ""

    def stand(self, name: str) -> Stand:
        """Its listeners."""
        settings = {"mixer_check_server": f"{self.mixer}:{MIXER_PORT}", **self.mesh}
        annotations = {f"policy.istio.io/{key}": text for key, text in self.annotations.items()}
        return Stand(
            extensions=MixerExtensions(mesh(**settings)),
            where=spot(self.direction, self.kind, ANNOTATIONS=annotations),
            name=name,
            deadline=self.deadline,
        )


def annotated(check: str) -> Mapping[str, str]:
    """Annotations that say so, without retries."""
    return {**ONCE, "check": check}


SHORT = timedelta(milliseconds=DELAY)
SETTINGS: Mapping[str, Setting] = {
    "closed-by-default": Setting(status=503),
    "mesh-open": Setting(mesh=OPEN),
    "mesh-closed": Setting(mesh=CLOSED, status=503),
    "pod-open": Setting(annotations=annotated("allow-on-error")),
    "pod-open-in-closed-mesh": Setting(mesh=CLOSED, annotations=annotated("allow-on-error")),
    "pod-closed-in-open-mesh": Setting(mesh=OPEN, annotations=annotated("enable"), status=503),
    "pod-off": Setting(annotations=annotated("disable")),
    "mesh-off": Setting(mesh={"disable_policy_checks": True}),
    "pod-on-in-mesh-off": Setting(
        mesh={"disable_policy_checks": True}, annotations=annotated("enable"), status=503
    ),
    "no-server": Setting(mesh={"mixer_check_server": ""}),
    "outbound-off-by-default": Setting(direction=OUT),
    "outbound-on": Setting(
        direction=OUT, mesh={"enable_client_side_policy_check": True}, status=503
    ),
    "outbound-pod-on": Setting(direction=OUT, annotations=annotated("enable"), status=503),
    "gateway": Setting(direction=OUT, kind=ProxyType.ROUTER, status=503),
    "refused": Setting(REFUSING, status=503),
    "refused-open": Setting(REFUSING, OPEN),
    "silent": Setting(SILENT, deadline=SHORT, status=503),
    "silent-open": Setting(SILENT, OPEN, deadline=SHORT),
    "no-verdict": Setting(FAILING, status=500, body="INTERNAL:adapter broke"),
    "no-verdict-open": Setting(FAILING, OPEN),
}
RETRYING: Mapping[str, tuple[Mapping[str, str], range]] = {
    "none": ({"checkRetries": "0"}, range(1, 2)),
    "two": ({"checkRetries": "2", "checkBaseRetryWaitTime": "1ms"}, range(3, 4)),
    "default": ({"checkBaseRetryWaitTime": "1ms", "checkMaxRetryWaitTime": "2ms"}, range(4, 22)),
}
"""Annotations, and how often Mixer is asked; by default as long as there is time."""


class Unhelpful(external_auth_pb2_grpc.AuthorizationServicer):
    """Refuses calls, or keeps them waiting; counts them by listener."""

    def __init__(self, *, silent: bool) -> None:
        self.calls = 0
        self._silent = silent

    async def Check(self, request: CheckRequest, context: Context) -> CheckResponse:
        self.calls += 1
        if self._silent:
            await asyncio.Event().wait()
        return await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


@dataclass
class Site:
    """The Envoy, and the Mixers that are of no help."""

    envoy: EnvoyServer
    refusing: Unhelpful
    engine: ScriptedEngine
    """Of the Mixer that has no verdict, and of the one that takes reports."""

    async def bytes(self, name: str) -> bool:
        """Whether bytes pass."""
        port = self.envoy.ports[f"tcp-{name}"]
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            answer = b""
            with suppress(ConnectionResetError):
                answer = await reader.readline()
            writer.close()
        return bool(answer)


def fail(_: Attributes) -> CheckVerdict:
    raise CheckFailed("adapter broke")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    engine, refusing, silent = ScriptedEngine(fail), Unhelpful(silent=False), Unhelpful(silent=True)

    def failing(server: grpc.aio.Server) -> None:
        ext_authz.register(server, engine, Pods(), ClientConfig, admit_all(), clock)
        access_log.register(server, engine, Pods(), ClientConfig, admit_all(), clock)

    def unhelpful(servicer: Unhelpful, server: grpc.aio.Server) -> None:
        external_auth_pb2_grpc.add_AuthorizationServicer_to_server(servicer, server)

    settings = {**SETTINGS, **REPORTING}
    for name, (annotations, _) in RETRYING.items():
        settings[f"retries-{name}"] = Setting(REFUSING, annotations=annotations)
    async with (
        application() as app,
        mixer(failing) as failing_port,
        mixer(lambda server: unhelpful(refusing, server)) as refusing_port,
        mixer(lambda server: unhelpful(silent, server)) as silent_port,
    ):
        servers = {
            DEAD: 1,
            REFUSING: refusing_port,
            SILENT: silent_port,
            FAILING: failing_port,
            TELEMETRY: failing_port,
        }
        stands = [each.stand(name) for name, each in settings.items()]
        config = with_stands(stands, servers, app.port)
        directory = tmp_path_factory.mktemp("envoy")
        async with envoy_server(config, directory, environment=PLACE) as envoy:
            yield Site(envoy, refusing, engine)
            assert complaints(envoy.log.read_text()) == []


@pytest.mark.parametrize("name", SETTINGS)
async def test_requests_without_a_verdict(site: Site, name: str) -> None:
    """Mesh and annotations decide; Mixer is asked only where checks are on (A39, A40, K2)."""
    setting = SETTINGS[name]
    reply = await fetch(site.envoy.ports[f"http-{name}"], "ratings", seconds=30)
    assert reply.status == setting.status
    if setting.status == 200:
        assert reply.body == b"ok"
    else:
        assert reply.body.decode() == setting.body


@pytest.mark.parametrize("name", SETTINGS)
async def test_connections_without_a_verdict(site: Site, name: str) -> None:
    """Those that may not pass are closed (A37, A39, K3)."""
    assert await site.bytes(name) is (SETTINGS[name].status == 200)


@pytest.mark.parametrize("name", RETRYING)
async def test_retries(site: Site, name: str) -> None:
    """As many as the annotation says; by default as many as fit into the deadline (A39, C12)."""
    before = site.refusing.calls
    reply = await fetch(site.envoy.ports[f"http-retries-{name}"], "ratings", seconds=60)
    assert reply.status == 503
    assert site.refusing.calls - before in RETRYING[name][1]


OFF = {"disable_policy_checks": True}
REPORTING: Mapping[str, Setting] = {
    "reports-off": Setting(mesh={**OFF, "mixer_report_server": ""}),
    "reports-of-connections": Setting(mesh={**OFF, "disable_mixer_http_reports": True}),
    "reports": Setting(mesh=OFF),
}


async def test_reports_do_not_depend_on_checks(site: Site) -> None:
    """They have switches of their own (A40)."""
    for name in REPORTING:
        path = f"/{name}"
        reply = await fetch(site.envoy.ports[f"http-{name}"], "ratings", path, seconds=30)
        assert reply.status == 200
        assert await site.bytes(name)

    def told() -> tuple[set[object], set[object]]:
        reports = site.engine.reported
        paths = {each["request.path"] for each in reports if "request.path" in each}
        closed = [each for each in reports if each.get("connection.event") == "close"]
        return paths, {each["destination.port"] for each in closed}

    expected = {site.envoy.ports[f"tcp-{name}"] for name in ("reports", "reports-of-connections")}
    await until(lambda: "/reports" in told()[0] and expected <= told()[1])
    paths, ports = told()
    assert not {"/reports-off", "/reports-of-connections"} & paths
    assert site.envoy.ports["tcp-reports-off"] not in ports


async def test_checks_without_an_answer_are_reported_without_one(site: Site) -> None:
    """No verdict, no ``check.cache_hit``: but the flag and, if Mixer said why, that (K check.*)."""
    expected = {
        "closed-by-default": (503, "UAEX", None, None),
        "mesh-open": (200, "-", None, None),
        "no-verdict": (500, "UAEX", 13, False),
        "no-verdict-open": (200, "-", 13, False),
    }
    for name in expected:
        await fetch(site.envoy.ports[f"http-{name}"], "ratings", f"/told/{name}", seconds=30)
    names = ("response.code", "context.proxy_error_code", "check.error_code", "check.cache_hit")

    def told() -> dict[str, tuple[object, ...]]:
        return {
            str(each["request.path"]).removeprefix("/told/"): tuple(map(each.get, names))
            for each in site.engine.reported
            if str(each.get("request.path")).startswith("/told/")
        }

    await until(lambda: told().keys() == expected.keys())
    assert told() == expected
