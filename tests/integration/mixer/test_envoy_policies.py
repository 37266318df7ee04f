"""Istio's policies and default telemetry over a real Envoy: the whole way of a request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio

from istio.mixer.v1 import mixer_pb2_grpc
from istio.mixer.v1.config.client.quota_pb2 import QuotaSpec
from istio.mixer.v1.mixer_pb2 import CheckRequest
from mast.mixer.api import access_log, ext_authz
from mast.mixer.api import mixer as face
from mast.mixer.core import status_codes
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import CheckVerdict, Engine
from mast.mixer.core.quota_specs import BINDINGS, SPECS
from mast.mixer.core.series import Registry
from mast.mixer.core.values import Attributes
from mast.mixer.core.wire import encode
from mast.mixer.core.workloads import Pod, Workloads
from mast.pilot.core.mixer.filters import MixerExtensions
from tests.support.envoy_server import envoy_server
from tests.support.live_mixer import clock, live_mixer
from tests.support.mixer_config import TELEMETRY, entries
from tests.support.mixer_mesh import admit_all, application, bootstrap, mesh, mixer, spot
from tests.support.scrape import Labels, scraped
from tests.support.until import until

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
class Remembering:
    """An engine that keeps what it was asked."""

    engine: Engine
    checked: list[Attributes] = field(default_factory=list)

    async def check(self, attributes: Attributes, *rest: Any, **named: Any) -> CheckVerdict:
        self.checked.append(dict(attributes))
        return await self.engine.check(attributes, *rest, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


@dataclass
class Mesh:
    """ratings behind its Envoy, with a Mixer that works."""

    engine: Remembering
    port: int
    url: str
    client: aiohttp.ClientSession
    series: Registry

    async def call(self, version: str) -> tuple[int, str]:
        """Status and body that a version of reviews gets."""
        caller = {"x-mast-peer": f"kubernetes://reviews-{version}.default,"}
        async with self.client.get(self.url, headers=caller) as answer:
            return answer.status, await answer.text()

    async def said(self) -> dict[str, tuple[int, str]]:
        """What `Mixer.Check` says of the same requests, by version, as callers would see it."""
        found: dict[str, tuple[int, str]] = {}
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            stub = mixer_pb2_grpc.MixerStub(channel)
            for attributes in self.engine.checked:
                asked = CheckRequest(attributes=encode(attributes), global_word_count=222)
                status = (await stub.Check(asked, timeout=60)).precondition.status
                body = status_codes.body(status.code, status.message) if status.code else "ok"
                version = str(attributes["source.uid"]).removeprefix("kubernetes://reviews-")[:2]
                answer = (status_codes.http_status(status.code), body)
                assert found.setdefault(version, answer) == answer
        return found

    async def counted(self, name: str, labels: Labels, value: float) -> None:
        """Wait until a metric's samples with these labels add up to so much."""

        def total() -> float:
            found = scraped(self.series.render())
            return sum(found[each] for each in found if each[0] == name and labels <= each[1])

        await until(lambda: total() >= value)
        assert total() == value


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

    texts = tuple(
        text.replace("metadata:\n", "metadata:\n  namespace: default\n") for text in texts
    )
    config_of_clients = client_config(*texts)
    async with live_mixer(workloads(), TELEMETRY, *texts) as working:
        engine = Remembering(working.engine)
        faces = (engine, working.pods, lambda: config_of_clients, admit_all(), clock)

        def register(server: grpc.aio.Server) -> None:
            ext_authz.register(server, *faces)
            access_log.register(server, *faces)
            face.register(server, face.MixerServicer(working.engine, admit_all()))

        async with application() as app, mixer(register) as port:
            config = bootstrap(MixerExtensions(mesh()), spot(), port, app.port)
            async with (
                envoy_server(config, directory, concurrency=2, environment=PLACE) as envoy,
                aiohttp.ClientSession() as client,
            ):
                url = f"http://127.0.0.1:{envoy.ports['http']}"
                yield Mesh(engine, port, url, client, working.series)


async def test_a_denier_denies_one_version(tmp_path):
    """Through Envoy as by `Mixer.Check` (mixer.md L 50), and told so by telemetry."""
    async with running(tmp_path, (POLICIES / "deny-reviews-v3.yaml").read_text()) as bench:
        answers = {
            version: {await bench.call(version) for _ in range(5)} for version in ("v2", "v3")
        }
        assert answers == {
            "v2": {(200, "ok")},
            "v3": {(403, "PERMISSION_DENIED:denyreviewsv3handler.default:Not allowed")},
        }
        assert {version: {answer} for version, answer in (await bench.said()).items()} == answers
        denied = {"source_version": "v3", "response_code": "403", "response_flags": "UAEX"}
        await bench.counted("istio_requests_total", frozenset(denied.items()), 5)


async def test_a_list_admits_two_versions(tmp_path):
    """Through Envoy as by `Mixer.Check` (mixer.md L 50)."""
    async with running(tmp_path, (POLICIES / "whitelist-versions.yaml").read_text()) as bench:
        answers = {version: await bench.call(version) for version in ("v1", "v2", "v3")}
        body = "PERMISSION_DENIED:whitelist.default:v3 is not whitelisted"
        assert answers == {"v1": (200, "ok"), "v2": (200, "ok"), "v3": (403, body)}
        assert await bench.said() == answers


async def test_a_quota_lets_so_many_requests_pass(tmp_path):
    text = (POLICIES / "quota-details.yaml").read_text().replace("details", "ratings")
    async with running(tmp_path, text) as bench:
        answers = [await bench.call("v1") for _ in range(60)]
        statuses = [status for status, _ in answers]
        assert (statuses.count(200), statuses.count(429)) == (20, 40)
        assert answers[-1] == (429, "RESOURCE_EXHAUSTED:Quota is exhausted for: requestcountquota")
