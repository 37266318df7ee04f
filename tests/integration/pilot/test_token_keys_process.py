"""Keys of issuers from Pilot to Envoy, or fetched by Envoy (pilot.md J3, N15; acceptance 26).

Pilot, etcd and Envoy are real, the issuer is an HTTP server that comes, goes and rotates.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.keys import STATUS_CONFIG
from mastapi.status.v1.status_pb2 import ConfigStatus
from tests.support.ads_server import bootstrap, until
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.etcd_server import etcd_server, free_port
from tests.support.http_probe import Closed, echo_server, fetch
from tests.support.mesh_yaml import changes
from tests.support.pilot_process import PilotProcess, pilot_process
from tests.support.tokens import Issuer, key_set

FIRST = Issuer("https://issuer.test", kid="k1")
SECOND = Issuer("https://issuer.test", kid="k2", key=Issuer("https://second.test").private)
FETCHES = "pilot_jwks_resolver_network_fetch"
MISSING, OLD = "pilot_token_keys_missing", "pilot_token_keys_outdated"
OFTEN = ("--jwt-pub-key-refresh-interval", "200ms")

MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system}, spec: {enableAutoMtls: false}}
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication,
 metadata: {name: default, namespace: istio-system}, spec: {mtls: {mode: DISABLE}}}
---
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: web, namespace: shop},
 spec: {ingress: [{port: {number: INGRESS, name: http, protocol: HTTP}, bind: 127.0.0.1,
                   defaultEndpoint: "127.0.0.1:APPLICATION"}]}}
---
{apiVersion: security.istio.io/v1, kind: RequestAuthentication,
 metadata: {name: tokens, namespace: shop},
 spec: {jwtRules: [{issuer: "https://issuer.test", jwksUri: "http://WHERE/keys"}]}}
"""
SERVICE = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: keys, namespace: shop},
 spec: {hosts: [keys.test], location: MESH_EXTERNAL, resolution: STATIC,
        ports: [{number: PORT, name: http, protocol: HTTP}],
        endpoints: [{address: 127.0.0.1, ports: {http: TARGET}}]}}
"""


@dataclass
class KeySite:
    """The issuer's server, on a port that it comes back to."""

    port: int = field(default_factory=free_port)
    asked: int = 0
    keys: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        del request
        self.asked += 1
        return web.Response(text=self.keys)

    @asynccontextmanager
    async def publishing(self, *issuers: Issuer) -> AsyncIterator[None]:
        """Serve these keys."""
        self.keys = key_set(*issuers)
        application = web.Application()
        application.router.add_get("/keys", self.answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            yield
        finally:
            await runner.cleanup()


@dataclass
class Mesh:
    """A workload with one policy, in a mesh of processes."""

    etcd: str
    store: Store
    pilot: PilotProcess
    envoy: EnvoyServer
    port: int

    async def status(self, token: str = "") -> int:
        """What becomes of a request; 0 while nobody listens."""
        try:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            return (await fetch(self.port, "web.shop", headers=headers)).status
        except (Closed, ConnectionError):
            return 0

    async def becomes(self, status: int, token: str = "") -> None:
        """Wait for an outcome."""

        async def has() -> bool:
            return await self.status(token) == status

        await until(has, seconds=30)

    async def findings(self) -> dict[str, str]:
        """What is told of the policy, by fault."""
        entries = (await self.store.list(f"{STATUS_CONFIG}istio/security/")).entries
        statuses = [ConfigStatus.FromString(each.value) for each in entries]
        return {each.fault: each.message for status in statuses for each in status.findings}

    async def measures(self, metric: str, expected: Callable[[float], bool]) -> None:
        """Wait for a metric of Pilot's."""

        async def measured() -> bool:
            return expected(await self.pilot.metric(metric))

        await until(measured)

    async def tells(self, expected: Callable[[dict[str, str]], bool]) -> None:
        """Wait for findings."""

        async def tells() -> bool:
            return expected(await self.findings())

        await until(tells, seconds=30)


@asynccontextmanager
async def mesh(
    directory: Path, site: KeySite, *flags: str, behind_service: bool = False
) -> AsyncIterator[Mesh]:
    """A mesh whose policy has its keys at the site, or at a service that leads there."""
    async with AsyncExitStack() as stack:
        application = await stack.enter_async_context(echo_server("web"))
        etcd = await stack.enter_async_context(etcd_server(directory))
        store = await stack.enter_async_context(connect(EtcdConfig(endpoints=(etcd.endpoint,))))
        port, outside = free_port(), free_port()
        where = f"keys.test:{outside}" if behind_service else f"127.0.0.1:{site.port}"
        text = MESH.replace("INGRESS", str(port)).replace("WHERE", where)
        service = SERVICE.replace("PORT", str(outside)).replace("TARGET", str(site.port))
        texts = [text.replace("APPLICATION", str(application.port))]
        texts += [service] if behind_service else []
        for each in changes(*texts):
            assert each.value is not None
            await store.put(each.key, each.value)
        pilot = await stack.enter_async_context(pilot_process(etcd.endpoint, directory, *flags))
        metadata = {"NAMESPACE": "shop", "INTERCEPTION_MODE": "NONE"}
        config = bootstrap(int(pilot.ads.rpartition(":")[2]), delta=True, metadata=metadata)
        envoy = await stack.enter_async_context(envoy_server(config, directory))
        yield Mesh(etcd.endpoint, store, pilot, envoy, port)
        assert complaints(envoy.log.read_text()) == []


async def test_keys_come_late_change_and_stay(tmp_path: Path) -> None:
    """Costly problem 15: nothing waits for keys, nothing is lost with them."""
    site = KeySite()
    async with mesh(tmp_path, site, *OFTEN) as running:
        # The issuer is away: the proxy is ready, and only tokens are refused.
        await running.becomes(200)
        assert await running.status(FIRST.token()) == 401
        await running.tells(lambda found: "connection refused" in found.get(MISSING, ""))
        await running.measures("pilot_token_keys_missing", lambda found: found == 1)
        await running.measures(f"{FETCHES}_fail_total", lambda found: found >= 1)
        # It comes, and nobody has to do anything.
        async with site.publishing(FIRST):
            await running.becomes(200, FIRST.token())
            await running.tells(lambda found: not found)
            # It changes its key, the old one first beside the new one.
            site.keys = key_set(FIRST, SECOND)
            await running.becomes(200, SECOND.token())
            assert await running.status(FIRST.token()) == 200
            site.keys = key_set(SECOND)
            await running.becomes(401, FIRST.token())
            # It publishes nonsense: the last good keys stay.
            site.keys = "<html>"
            await running.tells(lambda found: "not JSON" in found.get(OLD, ""))
            assert await running.status(SECOND.token()) == 200
        # It is gone.
        await running.tells(lambda found: "connection refused" in found.get(OLD, ""))
        assert await running.status(SECOND.token()) == 200
        assert await running.status() == 200
        await running.measures(f"{FETCHES}_success_total", lambda found: found >= 1)


async def test_a_new_pilot_has_the_keys_of_the_last(tmp_path: Path) -> None:
    """Though the issuer is away: keys are shared state, not a cache."""
    site = KeySite()
    async with mesh(tmp_path, site) as running:
        async with site.publishing(FIRST):
            await running.becomes(200, FIRST.token())
        asked = site.asked
        await running.pilot.kill()
        async with pilot_process(running.etcd, tmp_path, ads=running.pilot.ads) as after:
            await running.becomes(200, FIRST.token())
            assert await after.metric("pilot_token_keys_missing") == 0
            assert site.asked == asked == 1


async def test_the_proxy_fetches_keys(tmp_path: Path) -> None:
    """PILOT_JWT_ENABLE_REMOTE_JWKS: through a service of the mesh, without any help of Pilot."""
    site = KeySite()
    remote = ("--jwt-enable-remote-jwks", "envoy")
    async with mesh(tmp_path, site, *remote, behind_service=True) as running:
        await running.becomes(200)
        assert await running.status(FIRST.token()) == 401
        async with site.publishing(FIRST):
            await running.becomes(200, FIRST.token())
        assert await running.pilot.metric(FETCHES) == 0
        assert await running.findings() == {}
