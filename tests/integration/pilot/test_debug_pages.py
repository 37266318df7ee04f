"""The debug pages over HTTP (pilot.md M1, M2; acceptance 38)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from mast.common.etcd import Unavailable
from mast.common.process.monitoring import Readiness, http_server
from mast.pilot.api.debug import DebugPages, Gate, is_loopback
from mast.pilot.api.pages import Pages, Sources
from mast.pilot.core.model.finding import Fault, Finding, ObjectName
from mast.pilot.core.xds.report import Replica
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS, SDS, resource
from mastapi.registry.v1.registry_pb2 import Workload
from mastapi.status.v1.status_pb2 import ProxyStatus
from tests.fakes.pilot_views import (
    FakeMesh,
    assignment,
    eds_cluster,
    listener,
    routes,
    secret,
)
from tests.support.ads_server import ads_server, until
from tests.support.mesh_yaml import world
from tests.support.xds_client import node, xds_stream

ID = "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local"
REPLICA = Replica("pilot-1", "0.1")
PEM = "-----BEGIN EC PRIVATE KEY-----\nTOPSECRET\n-----END EC PRIVATE KEY-----\n"

MESH = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web, namespace: shop},
 spec: {hosts: [web.shop.svc.cluster.local], resolution: STATIC,
        ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 127.0.0.1}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: route, namespace: shop},
 spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy,
 metadata: {name: all, namespace: shop}, spec: {rules: [{}]}}
---
{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: logs, namespace: shop},
 spec: {accessLogging: [{disabled: true}]}}
---
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshNetworks,
 metadata: {name: default, namespace: istio-system},
 spec: {networks: {far: {gateways: [{address: 192.0.2.1, port: 15443}]}, lost: {}}}}
---
{apiVersion: registry.mast/v1, kind: Workload, metadata: {name: x},
 spec: {name: web-1, namespace: shop, cluster: east, addresses: [127.0.0.1]}}
"""
FINDING = Finding(
    fault=Fault.TCP_OVER_TCP,
    key="0.0.0.0_80 b:80",
    message="Too late.",
    subject=ObjectName("istio/networking/v1alpha3/serviceentries", "shop", "b"),
    winner=ObjectName("istio/networking/v1alpha3/serviceentries", "shop", "a"),
)


async def nowhere(wanted: str) -> ProxyStatus | None:
    del wanted
    return None


@pytest.fixture
def mesh():
    made = FakeMesh()
    made.put(eds_cluster("a"), assignment("a", [1]), listener("l", "r"), routes("r", "a"))
    made.put(secret("cert", "top secret"))
    return made


class Client:
    """Reads debug pages."""

    def __init__(self, http: aiohttp.ClientSession, port: int) -> None:
        self._http = http
        self._base = f"http://127.0.0.1:{port}"

    async def page(self, path: str) -> object:
        async with self._http.get(self._base + path) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def status(self, path: str, token: str = "") -> tuple[int, str]:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with self._http.get(self._base + path, headers=headers) as response:
            return response.status, await response.text()


REGISTERED = Workload(name="web-10.0.0.9", namespace="shop", addresses=["10.0.0.9"])


@asynccontextmanager
async def pages(ads, *, locate=nowhere, gate: Gate | None = None) -> AsyncIterator[Client]:
    snapshot = world(MESH).snapshot(7)
    sources = Sources(
        ads.connections, lambda: snapshot, lambda: [FINDING], locate, REPLICA, lambda: [REGISTERED]
    )
    made = DebugPages(Pages(sources), gate or Gate("istio-system"), REPLICA)
    ready = Readiness(True, {"etcd": "connected"})
    async with (
        http_server("127.0.0.1:0", made.routes(lambda: ready)) as port,
        aiohttp.ClientSession() as http,
    ):
        yield Client(http, port)


@asynccontextmanager
async def watching(ads, **metadata: object) -> AsyncIterator[object]:
    """A proxy that has everything and rejected its listener."""
    who = node(LABELS={"app": "web"}, CLUSTER_ID="c1", ISTIO_VERSION="1.30.3", **metadata)
    async with xds_stream(f"127.0.0.1:{ads.port}", who=who) as stream:
        for url, names in ((CDS, ()), (EDS, ("a",)), (LDS, ()), (RDS, ("r",))):
            await stream.ask(url, *names)
            told = await stream.told()
            if url == LDS:
                await stream.ask(url, nonce=told.nonce, error="no such filter")
            else:
                await stream.ack(told)
        await until(lambda: _all_answered(ads))
        yield stream


def _all_answered(ads) -> bool:
    (connection,) = ads.connections.open.values()
    watches = connection.session.state.watches
    return RDS in watches and not any(each.outstanding for each in watches.values())


class TestPages:
    """Acceptance 38."""

    async def test_syncz(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            (row,) = await client.page("/debug/syncz")
            assert (row["proxy"], row["proxy_type"]) == ("web-1.shop", "sidecar")
            assert (row["cluster_id"], row["istio_version"]) == ("c1", "1.30.3")
            assert row["cluster_sent"] == row["cluster_acked"] != ""
            assert row["listener_sent"] != row["listener_acked"] == ""
            assert row["extensionconfig_sent"] == ""
            assert await client.page("/debug/syncz?namespace=bank") == []
            assert len(await client.page("/debug/syncz?namespace=shop")) == 1

    async def test_config_distribution(self, mesh):
        async with ads_server(mesh) as ads, pages(ads) as client:
            async with watching(ads):
                (row,) = await client.page("/debug/config_distribution?namespace=shop")
                assert row == {
                    "proxy": "web-1.shop",
                    "revision": ads.connections.push.snapshot.revision,
                    "behind": [],
                    "rejected": ["lds"],
                }
                assert await client.page("/debug/config_distribution?namespace=bank") == []
            async with xds_stream(f"127.0.0.1:{ads.port}", who=node()) as stream:
                await stream.ask(CDS)
                told = await stream.told()

                assert await self._behind(client) == [["cds"]]
                await stream.ack(told)

                async def acknowledged() -> bool:
                    return await self._behind(client) == [[]]

                await until(acknowledged)

    async def _behind(self, client: Client) -> list[object]:
        rows = await client.page("/debug/config_distribution")
        return [each["behind"] for each in rows]

    async def test_adsz(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            found = await client.page("/debug/adsz")
            assert found["totalClients"] == 1
            (row,) = found["clients"]
            assert row["connectionId"] == f"{ID}-1"
            assert row["address"].startswith("ipv4:127.0.0.1:")
            assert row["labels"] == {"app": "web", "topology.istio.io/cluster": "c1"}
            assert row["metadata"]["ISTIO_VERSION"] == "1.30.3"
            assert row["watches"] == {"cds": [], "eds": ["a"], "lds": [], "rds": ["r"]}
            assert datetime.fromisoformat(row["connectedAt"]).tzinfo == UTC
            short = await client.page("/debug/connections")
            assert short["clients"][0].keys() == {"connectionId", "connectedAt", "address"}

    async def test_adsz_pushes_on_demand(self, mesh):
        async with ads_server(mesh) as ads, watching(ads) as stream, pages(ads) as client:
            await client.page("/debug/adsz?push=true&proxyID=web-1.shop")
            told = [await stream.told() for _ in range(3)]
            assert [each.type_url for each in told] == [CDS, EDS, RDS]

    async def test_config_dump(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            path = "/debug/config_dump?proxyID=web-1.shop"
            dump = (await client.page(path))["configs"]
            kinds = [each["@type"].rpartition(".")[2] for each in dump]
            assert "ClustersConfigDump" in kinds
            assert "EndpointsConfigDump" not in kinds
            (cluster,) = dump[kinds.index("ClustersConfigDump")]["dynamicActiveClusters"]
            assert cluster["cluster"]["name"] == "a"
            assert cluster["versionInfo"] == eds_cluster("a").version
            (with_eds,) = (await client.page(path + "&types=eds"))["configs"]
            assert len(with_eds["dynamicEndpointConfigs"]) == 1
            assert len((await client.page(path + "&include_eds=true"))["configs"]) == len(kinds) + 1

    async def test_secrets_are_not_shown(self, mesh):
        async with ads_server(mesh) as ads, watching(ads) as stream, pages(ads) as client:
            await stream.ask(SDS, "cert")
            await stream.told()
            _, text = await client.status("/debug/config_dump?proxyID=web-1.shop&types=sds")
            assert "top secret" not in text

    async def test_pages_of_one_type(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            (found,) = await client.page("/debug/edsz?proxyID=web-1.shop")
            assert found["clusterName"] == "a"
            assert await client.page("/debug/ecdsz?proxyID=web-1.shop") == []

    @pytest.mark.parametrize(
        ("path", "status", "words"),
        [
            ("/debug/config_dump", 400, "proxyID: name a proxy"),
            ("/debug/edsz?proxyID=x", 404, "may be connected to another Pilot"),
            ("/debug/force_disconnect", 400, "proxyID"),
            ("/debug/unheard_of", 404, ""),
        ],
        ids=["no-proxy", "unknown-proxy", "disconnect-nobody", "unknown-page"],
    )
    async def test_errors(self, mesh, path, status, words):
        async with ads_server(mesh) as ads, pages(ads) as client:
            code, text = await client.status(path)
            assert code == status
            assert words in text

    async def test_registered_workloads(self, mesh):
        async with ads_server(mesh) as ads, pages(ads) as client:
            (entry,) = await client.page("/debug/workloadz")
            assert (entry["kind"], entry["metadata"]["name"]) == ("WorkloadEntry", "web-10.0.0.9")
            assert await client.page("/debug/workloadz?namespace=other") == []

    async def test_the_mesh(self, mesh):
        async with ads_server(mesh) as ads, pages(ads) as client:
            (service,) = await client.page("/debug/registryz")
            assert service["host"] == "web.shop.svc.cluster.local"
            (endpoints,) = await client.page("/debug/endpointz")
            assert endpoints["svc"] == "web.shop.svc.cluster.local"
            assert endpoints["ep"][0]["address"] == "127.0.0.1"
            assert await client.page("/debug/endpointShardz") == [endpoints]
            configs = {each["kind"]: each for each in await client.page("/debug/configz")}
            assert configs["ServiceEntry"]["metadata"]["name"] == "web"
            assert configs["ServiceEntry"]["spec"]["hosts"] == ["web.shop.svc.cluster.local"]
            assert configs.keys() == {
                "ServiceEntry",
                "VirtualService",
                "AuthorizationPolicy",
                "Telemetry",
                "MeshNetworks",
            }
            assert (await client.page("/debug/mesh"))["trustDomain"] == "cluster.local"

    async def test_push_status(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            assert await client.page("/debug/push_status") == {
                "push": ads.connections.push.number,
                "revision": 1,
                "rejected": {"web-1.shop": {"lds": "no such filter"}},
                "conflicts": {
                    "pilot_conflict_outbound_listener_tcp_over_current_tcp": {
                        "0.0.0.0_80 b:80": {
                            "message": "Too late.",
                            "subject": "serviceentries shop/b",
                            "winner": "serviceentries shop/a",
                        }
                    }
                },
            }

    async def test_force_disconnect(self, mesh):
        async with ads_server(mesh) as ads, watching(ads) as stream, pages(ads) as client:
            await client.page("/debug/force_disconnect?proxyID=web-1.shop")
            await stream.ended()
            await until(lambda: not ads.connections.open)

    async def test_the_list_is_complete(self, mesh):
        async with ads_server(mesh, synced=False) as ads, pages(ads) as client:
            listed = await client.page("/debug")
            assert await client.page("/debug/list") == listed
            for path in listed:
                assert (await client.status(path))[0] in {200, 400}
            assert (await client.page("/debug/push_status"))["push"] is None
            assert (await client.page("/version"))["id"] == "pilot-1"
            assert (await client.page("/ready"))["ready"]

    async def test_policies_and_networks(self, mesh):
        async with ads_server(mesh) as ads, pages(ads) as client:
            found = await client.page("/debug/authorizationz")
            policies = found["authorization_policies"]
            assert policies["root_namespace"] == "istio-system"
            (policy,) = policies["namespace_to_policies"]["shop"]
            assert (policy["name"], policy["spec"]) == ("all", {"rules": [{}]})
            found = await client.page("/debug/telemetryz")
            (logs,) = found["telemetries"]["namespace_to_telemetries"]["shop"]
            assert logs["spec"] == {"accessLogging": [{"disabled": True}]}
            (gateway,) = await client.page("/debug/networkz")
            assert (gateway["Network"], gateway["Addr"], gateway["Port"]) == (
                "far",
                "192.0.2.1",
                15443,
            )
            context = await client.page("/debug/pushcontext")
            assert context["NetworkGateways"] == {"far": [gateway]}
            assert context["UnresolvedGateways"] == ["lost"]
            assert context["AuthorizationPolicies"] == policies

    async def test_clusters_and_kinds(self, mesh):
        async with ads_server(mesh) as ads, pages(ads) as client:
            (cluster,) = await client.page("/debug/clusterz")
            assert cluster == {
                "id": "east",
                "secretName": "",
                "syncStatus": "synced",
                "workloads": 1,
                "endpoints": 0,
            }
            kind = {"group": "networking.istio.io", "version": "v1beta1", "kind": "VirtualService"}
            assert kind in await client.page("/debug/resourcesz")
            assert (await client.page("/debug/inject"))["injector"] == ""

    async def test_what_a_proxy_sees_and_serves(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            seen = await client.page("/debug/sidecarz?proxyID=web-1.shop")
            assert (seen["namespace"], seen["sidecar"]) == ("shop", "")
            (egress,) = seen["egressListeners"]
            assert egress["services"] == [
                {"host": "web.shop.svc.cluster.local", "namespace": "shop", "ports": [80]}
            ]
            assert egress["virtualServices"] == {"web.shop.svc.cluster.local": "shop/route"}
            served = {
                "service": "web.shop.svc.cluster.local",
                "namespace": "shop",
                "port": 80,
                "targetPort": 80,
            }
            assert await client.page("/debug/instancesz") == {"web-1.shop": [served]}

    async def test_kept_results(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            assert (await client.page("/debug/cachez"))["total"] == 0
            await client.page("/debug/sidecarz?proxyID=web-1.shop")
            found = await client.page("/debug/cachez")
            assert found["results"]["audience"] == 1
            assert found["total"] == sum(found["results"].values())
            assert (await client.page("/debug/cachez?clear=true"))["total"] == 0

    async def test_private_keys_are_shown_nowhere(self, mesh):
        """Not even those that an EnvoyFilter puts into a listener."""
        tls = DownstreamTlsContext()
        tls.common_tls_context.tls_certificates.add().private_key.inline_string = "TOPSECRET"
        message = Listener(name="l", stat_prefix=PEM)
        message.filter_chains.add().transport_socket.typed_config.Pack(tls)
        mesh.put(resource("l", LDS, message, requires=["r"]))
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            _, text = await client.status("/debug/config_dump?proxyID=web-1.shop")
            assert "[redacted]" in text
            assert "TOPSECRET" not in text

    @pytest.mark.parametrize("path", ["adsz", "config_dump", "ndsz", "sidecarz"])
    async def test_a_proxy_elsewhere_is_located(self, mesh, path):
        """M2: not connected here, and it is said where."""

        async def locate(wanted: str) -> ProxyStatus:
            return ProxyStatus(node_id=wanted, pilot="pilot-2", namespace="shop")

        async with ads_server(mesh) as ads, pages(ads, locate=locate) as client:
            code, text = await client.status(f"/debug/{path}?proxyID=other.shop")
            assert code == 404
            assert "not connected to pilot-1; it is connected to pilot-2" in text

    async def test_a_proxy_cannot_be_located_without_etcd(self, mesh):
        async def locate(wanted: str) -> ProxyStatus:
            raise Unavailable("get", wanted, "gone")

        async with ads_server(mesh) as ads, pages(ads, locate=locate) as client:
            code, text = await client.status("/debug/ndsz?proxyID=other.shop")
            assert code == 404
            assert "may be connected to another Pilot" in text

    async def test_nothing_is_known_at_first(self, mesh):
        async with ads_server(mesh) as ads:
            sources = Sources(ads.connections, lambda: None, list, nowhere, REPLICA)
            made = DebugPages(Pages(sources), Gate("istio-system"), REPLICA)
            async with (
                http_server("127.0.0.1:0", made.routes(lambda: Readiness(False))) as port,
                aiohttp.ClientSession() as http,
            ):
                client = Client(http, port)
                assert (await client.status("/ready"))[0] == 503
                for path in ("registryz", "networkz", "cachez"):
                    code, text = await client.status(f"/debug/{path}")
                    assert code == 404
                    assert "nothing is known" in text


class TestAccess:
    """Loopback is free, others need a token (M2, B28)."""

    @pytest.fixture
    def gate(self, tmp_path: Path) -> Gate:
        tokens = tmp_path / "tokens"
        tokens.write_text(
            "# who may look\nall-of-it\nsystem istio-system\nshop-only shop  # team\n\nbank bank\n"
        )
        return Gate("istio-system", tokens, trusted=lambda address: False)

    @pytest.mark.parametrize(
        ("token", "path", "status", "words"),
        [
            pytest.param("", "syncz", 401, "Authorization: Bearer", id="no-token"),
            pytest.param("guess", "syncz", 401, "not one of those", id="wrong-token"),
            pytest.param("all-of-it", "syncz", 200, "web-1.shop", id="everything"),
            pytest.param("system", "registryz", 200, "web.shop", id="system-namespace"),
            pytest.param("shop-only", "syncz", 403, "config_dump, edsz, ndsz", id="foreign-page"),
            pytest.param("shop-only", "adsz?push=true", 403, "", id="foreign-push"),
            pytest.param(
                "shop-only", "config_dump?proxyID=web-1.shop", 200, "Clusters", id="own-proxy"
            ),
            pytest.param("bank", "edsz?proxyID=web-1.shop", 403, "'bank'", id="foreign-proxy"),
            pytest.param("bank", "edsz", 400, "proxyID", id="no-proxy"),
        ],
    )
    async def test_from_elsewhere(self, mesh, gate, token, path, status, words):
        async with ads_server(mesh) as ads, watching(ads), pages(ads, gate=gate) as client:
            code, text = await client.status(f"/debug/{path}", token)
            assert code == status
            assert words in text

    async def test_where_a_foreign_proxy_is_stays_unsaid(self, mesh, gate):
        async def locate(wanted: str) -> ProxyStatus:
            return ProxyStatus(node_id=wanted, pilot="pilot-2", namespace="shop")

        async with ads_server(mesh) as ads, pages(ads, gate=gate, locate=locate) as client:
            code, text = await client.status("/debug/ndsz?proxyID=other.shop", "bank")
            assert code == 403
            assert "pilot-2" not in text

    async def test_without_tokens_nobody_else_sees_anything(self, mesh):
        gate = Gate("istio-system", trusted=lambda address: False)
        async with ads_server(mesh) as ads, pages(ads, gate=gate) as client:
            code, text = await client.status("/debug/list", "guess")
            assert code == 401
            assert "--debug-token-file" in text

    async def test_tokens_may_be_replaced(self, mesh, gate):
        async with ads_server(mesh) as ads, pages(ads, gate=gate) as client:
            assert (await client.status("/debug/list", "new"))[0] == 401
            gate.tokens.write_text("new\n")
            assert (await client.status("/debug/list", "new"))[0] == 200
            gate.tokens.unlink()
            assert (await client.status("/debug/list", "new"))[0] == 401

    @pytest.mark.parametrize(
        ("address", "free"),
        [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("10.0.0.1", False), ("", False)],
    )
    def test_who_is_on_this_machine(self, address, free):
        assert is_loopback(address) is free
