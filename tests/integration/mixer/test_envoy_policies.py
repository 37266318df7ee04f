"""Istio's policies and default telemetry over a real Envoy: the whole way of a request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import grpc.aio
import pytest

from istio.mixer.v1.config.client.quota_pb2 import QuotaSpec
from mast.common.process.telemetry import Metrics
from mast.mixer.adapters.catalog import Edges, adapters
from mast.mixer.api import access_log, ext_authz
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.config.snapshot import EMPTY, compile_snapshot
from mast.mixer.core.quota_specs import BINDINGS, SPECS
from mast.mixer.core.series import Registry
from mast.mixer.core.templates import TEMPLATES
from mast.mixer.core.workloads import Pod, Workloads
from mast.mixer.runtime.calls import Calls
from mast.mixer.runtime.engine import LiveEngine
from mast.mixer.runtime.handlers import Handlers
from mast.mixer.runtime.instruments import Instruments
from mast.pilot.core.mixer.filters import MixerExtensions
from tests.support.envoy_server import envoy_server
from tests.support.mixer_config import TELEMETRY, entries, no_answer
from tests.support.mixer_mesh import admit_all, application, bootstrap, mesh, mixer, spot

POLICIES = Path(__file__).parents[3] / "samples" / "bookinfo" / "policy"
PLACE = {"POD_NAME": "ratings-1", "POD_NAMESPACE": "default", "INSTANCE_IP": "10.0.0.9"}


def workloads() -> Workloads:
    """One pod of ratings, three versions of reviews."""
    found = Workloads()
    found.put("ratings", Pod("ratings-1", "default", labels={"app": "ratings", "version": "v1"}))
    for version in ("v1", "v2", "v3"):
        labels = {"app": "reviews", "version": version}
        pod = Pod(f"reviews-{version}", "default", labels=labels, workload=f"reviews-{version}")
        found.put(version, pod)
    return found


@dataclass
class Mesh:
    """ratings behind its Envoy, with a Mixer that works."""

    url: str
    client: aiohttp.ClientSession
    series: Registry

    async def call(self, version: str) -> tuple[int, str]:
        """Status and body that a version of reviews gets."""
        caller = {"x-mast-peer": f"kubernetes://reviews-{version}.default,"}
        async with self.client.get(self.url, headers=caller) as answer:
            return answer.status, await answer.text()

    async def sample(self, name: str, *labels: str) -> float:
        """Sum of a metric's samples whose line has all these labels, once there are any."""
        async with asyncio.timeout(10):
            while True:
                lines = [
                    line
                    for line in self.series.render().splitlines()
                    if line.startswith(name + "{") and all(each in line for each in labels)
                ]
                if lines:
                    return sum(float(line.rpartition(" ")[2]) for line in lines)
                await asyncio.sleep(0.05)


def client_config(*texts: str) -> ClientConfig:
    """The QuotaSpecs and bindings among some objects."""
    found = ClientConfig()
    for each in entries(*texts):
        if each.kind in {"QuotaSpec", "QuotaSpecBinding"}:
            collection = SPECS if isinstance(each.spec, QuotaSpec) else BINDINGS
            found = found.with_object(collection, ("default", each.name), each.spec)
    return found


@asynccontextmanager
async def running(directory: Path, *texts: str) -> AsyncIterator[Mesh]:
    """The mesh with this configuration and the default telemetry."""

    def now() -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    texts = tuple(
        text.replace("metadata:\n", "metadata:\n  namespace: default\n") for text in texts
    )
    pods, series = workloads(), Registry(1000)
    instruments = Instruments(Metrics("mixer"))
    config_of_clients = client_config(*texts)
    async with asyncio.TaskGroup() as tasks:
        engine = LiveEngine(
            Handlers(tasks, instruments),
            Calls(instruments, timedelta(seconds=5)),
            instruments,
            "istio-system",
        )
        edges = Edges(now, asyncio.get_running_loop().time, no_answer, series, pods)
        known = [each for each in entries(TELEMETRY, *texts) if "Quota" not in each.kind]
        snapshot = compile_snapshot(known, TEMPLATES, adapters(edges), EMPTY)
        assert not snapshot.problems
        await engine.swap(snapshot)

        def register(server: grpc.aio.Server) -> None:
            ext_authz.register(server, engine, pods, lambda: config_of_clients, admit_all(), now)
            access_log.register(server, engine, pods, lambda: config_of_clients, admit_all(), now)

        async with application() as app, mixer(register) as port:
            config = bootstrap(MixerExtensions(mesh()), spot(), port, app.port)
            async with (
                envoy_server(config, directory, concurrency=2, environment=PLACE) as envoy,
                aiohttp.ClientSession() as client,
            ):
                yield Mesh(f"http://127.0.0.1:{envoy.ports['http']}", client, series)
        await engine.close()


async def test_a_denier_denies_one_version(tmp_path):
    async with running(tmp_path, (POLICIES / "deny-reviews-v3.yaml").read_text()) as bench:
        answers = {
            version: {await bench.call(version) for _ in range(5)} for version in ("v2", "v3")
        }
        assert answers == {
            "v2": {(200, "ok")},
            "v3": {(403, "PERMISSION_DENIED:denyreviewsv3handler.default:Not allowed")},
        }
        denied = ('source_version="v3"', 'response_code="403"', 'response_flags="UAEX"')
        assert await bench.sample("istio_requests_total", *denied) == 5


async def test_a_list_admits_two_versions(tmp_path):
    async with running(tmp_path, (POLICIES / "whitelist-versions.yaml").read_text()) as bench:
        answers = {version: await bench.call(version) for version in ("v1", "v2", "v3")}
        body = "PERMISSION_DENIED:whitelist.default:v3 is not whitelisted"
        assert answers == {"v1": (200, "ok"), "v2": (200, "ok"), "v3": (403, body)}


async def test_a_quota_lets_so_many_requests_pass(tmp_path):
    text = (POLICIES / "quota-details.yaml").read_text().replace("details", "ratings")
    async with running(tmp_path, text) as bench:
        answers = [await bench.call("v1") for _ in range(60)]
        statuses = [status for status, _ in answers]
        assert (statuses.count(200), statuses.count(429)) == (20, 40)
        assert answers[-1] == (429, "RESOURCE_EXHAUSTED:Quota is exhausted for: requestcountquota")


@pytest.mark.parametrize(
    ("metric", "value"),
    [("istio_requests_total", 7), ("istio_response_bytes_sum", 14)],
)
async def test_the_default_telemetry_tells_who_called_whom(tmp_path, metric, value):
    labels = (
        'reporter="destination"',
        'source_workload="reviews-v2"',
        'source_app="reviews"',
        'source_version="v2"',
        'destination_app="ratings"',
        'destination_service="ratings.default.svc.cluster.local"',
        'destination_service_name="ratings"',
        'destination_service_namespace="default"',
        'request_protocol="http"',
        'response_code="200"',
        'response_flags="-"',
        'connection_security_policy="none"',
    )
    async with running(tmp_path) as bench:
        for _ in range(7):
            await bench.call("v2")
        assert await bench.sample(metric, *labels) == value
