"""An API server of a large cluster, as a process: lists in pages, watches, and changes at a rate.

    python -m tests.bench.load.kubernetes_api DIRECTORY SERVICES PODS_PER_SERVICE CONFIGS

It writes DIRECTORY/url, DIRECTORY/root.pem and DIRECTORY/kubeconfig, then a line. Everything it
tells was written in JSON when it started, so that it is not what limits a benchmark.

``POST /bench/endpoints``, ``/bench/configs``, ``/bench/pods`` or ``/bench/bad`` with ``rate`` and
``seconds`` changes so many objects a second and answers with what it changed and when, by the clock
that all processes of a machine have in common. ``POST /bench/slow`` with ``seconds`` lets every
later answer wait.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from tests.bench.load import kubernetes_objects as objects
from tests.bench.load.kubernetes_objects import Object, Size
from tests.support.custom_resources import definitions
from tests.support.pki import Ca

NODES = "/api/v1/nodes"
NAMESPACES = "/api/v1/namespaces"
PODS = "/api/v1/pods"
SERVICES = "/api/v1/services"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
VIRTUAL_SERVICES = "/apis/networking.istio.io/v1/virtualservices"
DESTINATION_RULES = "/apis/networking.istio.io/v1/destinationrules"
TICK_SECONDS = 0.01
BOOKMARK_SECONDS = 10.0
# As deep and large as API servers let objects be, or deeper.
DEPTH, ROUTES, TEXT = 900, 600, 1 << 20


@dataclass
class Collection:
    """Objects as JSON, and who watches them."""

    items: list[bytes] = field(default_factory=list)
    watchers: set[asyncio.Queue[bytes]] = field(default_factory=set)


class Cluster:
    """Everything that is served."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.version = 1
        self.delay_seconds = 0.0
        self.collections: dict[str, Collection] = {}
        self._fill(NODES, map(objects.node, range(objects.NODES)))
        self._fill(NAMESPACES, map(objects.namespace, range(objects.NAMESPACES)))
        self._fill(SERVICES, map(objects.service, range(size.services)))
        self._fill(SLICES, (objects.endpoint_slice(n, size) for n in range(size.services)))
        self._fill(PODS, self._pods())
        half = size.configs // 2
        self._fill(VIRTUAL_SERVICES, map(objects.virtual_service, range(size.configs - half)))
        self._fill(DESTINATION_RULES, map(objects.destination_rule, range(half)))
        self._fill(DEFINITIONS, map(_established, definitions().values()))

    def _pods(self) -> Iterator[Object]:
        for number in range(self.size.services):
            for index in range(self.size.pods_per_service):
                yield objects.pod(number, index, self.size)

    def _fill(self, path: str, found: Iterable[Object]) -> None:
        self.collections[path] = Collection([self.text(each) for each in found])

    def text(self, found: Object) -> bytes:
        """An object as JSON, at a version of its own."""
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        return json.dumps(found, separators=(",", ":")).encode()

    def put(self, path: str, index: int, found: Object) -> None:
        """Change an object and tell those who watch."""
        collection = self.collections[path]
        collection.items[index] = self.text(found)
        line = b'{"type":"MODIFIED","object":' + collection.items[index] + b"}\n"
        for watcher in collection.watchers:
            watcher.put_nowait(line)


def _established(definition: Any) -> Object:
    condition = {"type": "Established", "status": "True"}
    return {**json.loads(json.dumps(definition)), "status": {"conditions": [condition]}}


class Endpoints:
    """Every change takes the readiness of another endpoint away, or gives it back."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._not_ready: dict[int, dict[int, bool]] = {}
        self._count = 0

    def change(self) -> str:
        """Change one endpoint; its address."""
        size = self._cluster.size
        number = self._count % size.services
        index = self._count // size.services % size.pods_per_service
        self._count += 1
        states = self._not_ready.setdefault(number, {})
        states[index] = not states.get(index, False)
        self._cluster.put(SLICES, number, objects.endpoint_slice(number, size, states))
        return objects.address(number, index, size)


class Configs:
    """Every change sets another timeout."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._count = 0

    def change(self) -> str:
        """Change one VirtualService; its name."""
        number = self._count % len(self._cluster.collections[VIRTUAL_SERVICES].items)
        self._count += 1
        found = objects.virtual_service(number, timeout=f"{self._count + 10}ms")
        self._cluster.put(VIRTUAL_SERVICES, number, found)
        return f"app-{number}"


class Pods:
    """Heartbeats: statuses change in what nobody reads."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._count = 0

    def change(self) -> str:
        """Change one Pod; its name."""
        size = self._cluster.size
        number = self._count % size.endpoints
        self._count += 1
        service, index = divmod(number, size.pods_per_service)
        found = objects.pod(service, index, size)
        found["status"]["conditions"][0]["lastProbeTime"] = f"beat {self._count}"
        self._cluster.put(PODS, number, found)
        return objects.pod_name(service, index)


class Bad:
    """Objects that no mesh can take: too deep, too large, of wrong types; another one each time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._count = 0

    def change(self) -> str:
        """Spoil the last object of three kinds."""
        self._count += 1
        number = len(self._cluster.collections[VIRTUAL_SERVICES].items) - 1
        found = objects.virtual_service(number)
        deep: Any = str(self._count)
        for _ in range(DEPTH):
            deep = [deep]
        large = [{"name": f"route-{each}", "route": deep} for each in range(ROUTES)]
        found["spec"]["http"] = large if self._count % 2 else [{"route": deep, "x": "x" * TEXT}]
        self._cluster.put(VIRTUAL_SERVICES, number, found)
        size = self._cluster.size
        sliced = objects.endpoint_slice(size.services - 1, size)
        sliced["endpoints"] = [*sliced["endpoints"], {"addresses": deep}]
        self._cluster.put(SLICES, size.services - 1, sliced)
        whole = objects.pod(size.services - 1, 0, size)
        whole["metadata"]["annotations"]["large"] = "x" * TEXT
        whole["spec"]["containers"] = {"deep": deep}
        self._cluster.put(PODS, size.endpoints - 1, whole)
        return "bad"


async def changes(change: Callable[[], str], rate: float, seconds: float) -> list[Any]:
    """Change at a constant rate; what was changed, and when."""
    done: list[Any] = []
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        due = int(rate * passed)
        while len(done) < due:
            done.append([change(), time.monotonic()])
        await asyncio.sleep(TICK_SECONDS)
    return done


class Handlers:
    """What is asked over HTTP."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._changing = {
            "endpoints": Endpoints(cluster),
            "configs": Configs(cluster),
            "pods": Pods(cluster),
            "bad": Bad(cluster),
        }

    async def change(self, request: web.Request) -> web.Response:
        """Begin to change, and answer when it is done."""
        wanted = await request.json()
        what = self._changing[request.match_info["what"]]
        done = await changes(what.change, wanted["rate"], wanted["seconds"])
        return web.json_response(done)

    async def slow(self, request: web.Request) -> web.Response:
        """From now on every answer waits."""
        self._cluster.delay_seconds = (await request.json())["seconds"]
        return web.Response()

    async def read(self, request: web.Request) -> web.StreamResponse:
        """A page or a watch; what is not there is an empty list."""
        await asyncio.sleep(self._cluster.delay_seconds)
        found = self._cluster.collections.get(request.path)
        if request.query.get("watch") == "true":
            return await self._watch(request, found or Collection())
        return self._page(request, found.items if found else [])

    def _page(self, request: web.Request, items: list[bytes]) -> web.Response:
        begin = int(request.query.get("continue") or 0)
        end = begin + int(request.query.get("limit") or len(items) or 1)
        more = str(end) if end < len(items) else ""
        metadata = {"resourceVersion": str(self._cluster.version), "continue": more}
        body = b'{"kind":"List","metadata":%s,"items":[%s]}' % (
            json.dumps(metadata).encode(),
            b",".join(items[begin:end]),
        )
        return web.Response(body=body, content_type="application/json")

    async def _watch(self, request: web.Request, found: Collection) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        found.watchers.add(queue)
        try:
            async with asyncio.timeout(int(request.query["timeoutSeconds"])):
                while True:
                    lines = [await self._next(queue)]
                    while not queue.empty():
                        lines.append(queue.get_nowait())
                    await response.write(b"".join(lines))
        except (TimeoutError, ConnectionError):
            return response
        finally:
            found.watchers.discard(queue)

    async def _next(self, queue: asyncio.Queue[bytes]) -> bytes:
        try:
            async with asyncio.timeout(BOOKMARK_SECONDS):
                return await queue.get()
        except TimeoutError:
            metadata = {"resourceVersion": str(self._cluster.version)}
            mark = {"type": "BOOKMARK", "object": {"metadata": metadata}}
            return json.dumps(mark).encode() + b"\n"


def kubeconfig(url: str, root: bytes) -> str:
    """How to reach the server."""
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(root).decode()}
    return yaml.safe_dump(
        {
            "current-context": "bench",
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "bench", "user": {"token": "bench"}}],
        }
    )


def tls(authority: Ca) -> ssl.SSLContext:
    """A certificate for this machine."""
    own = authority.leaf(dns=["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(own.key + own.chain)
        file.flush()
        context.load_cert_chain(file.name)
    return context


async def main(directory: Path, size: Size) -> None:
    """Serve until the standard input ends."""
    handlers = Handlers(Cluster(size))
    application = web.Application()
    application.router.add_post("/bench/slow", handlers.slow)
    application.router.add_post("/bench/{what}", handlers.change)
    application.router.add_get("/{path:apis?/.*}", handlers.read)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    authority = Ca.root("bench")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls(authority)).start()
    url = f"https://localhost:{runner.addresses[0][1]}"
    (directory / "url").write_text(url)
    (directory / "root.pem").write_bytes(authority.pem)
    (directory / "kubeconfig").write_text(kubeconfig(url, authority.pem))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Size(*map(int, sys.argv[2:5]))))
