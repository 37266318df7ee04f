"""Conflicts are reported with names: metrics, status in etcd, push status (M3, N10, N25)."""

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.keys import STATUS_CONFIG
from mast.pilot.core.xds.resources import CDS, EDS, LDS
from mastapi.status.v1.status_pb2 import ConfigStatus
from tests.support.ads_server import until
from tests.support.etcd_server import etcd_server
from tests.support.mesh_yaml import changes
from tests.support.pilot_process import PilotProcess, pilot_process
from tests.support.xds_client import node, xds_stream

SE = "apiVersion: networking.istio.io/v1, kind: ServiceEntry"
WHO = "sidecar~127.0.0.1~client-1.default~default.svc.cluster.local"
TCP_OVER_TCP = "pilot_conflict_outbound_listener_tcp_over_current_tcp"


def service(name: str) -> str:
    """A TCP service without address or endpoints."""
    return f"""
{{{SE}, metadata: {{name: {name}}},
 spec: {{hosts: ["*.{name}.test"], resolution: NONE,
        ports: [{{number: 9000, name: tcp, protocol: TCP}}]}}}}
"""


STATIC = f"""
{{{SE}, metadata: {{name: empty}},
 spec: {{hosts: [empty.test], resolution: STATIC, location: MESH_INTERNAL,
        ports: [{{number: 80, name: http, protocol: HTTP}}],
        workloadSelector: {{labels: {{app: nobody}}}}}}}}
"""
RULE = """
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: idle},
 spec: {host: nobody.test}}
"""


async def put(store: Store, *texts: str) -> None:
    for each in changes(*texts):
        await store.put(each.key, each.value)


async def statuses(store: Store) -> dict[str, ConfigStatus]:
    entries = (await store.list(STATUS_CONFIG)).entries
    return {each.key: ConfigStatus.FromString(each.value) for each in entries}


async def metrics(pilot: PilotProcess, *names: str) -> list[float]:
    return [await pilot.metric(f"{name} ") for name in names]


async def test_from_the_store_to_the_operator(tmp_path):
    """Acceptance 16: of two TCP services on one port the newer one is reported, with names."""
    loser = "status/config/istio/networking/v1alpha3/serviceentries/default/b/pilot-1"
    idle = "status/config/istio/networking/v1alpha3/destinationrules/default/idle/pilot-1"
    async with (
        etcd_server(tmp_path) as etcd,
        connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
        pilot_process(etcd.endpoint, tmp_path, "--identity", "pilot-1") as pilot,
    ):
        await put(store, service("a"), service("b"), STATIC, RULE)
        await store.put("config/istio/networking/v1alpha3/gateways/default/broken", b"\xff")
        async with xds_stream(pilot.ads, who=node(WHO, NAMESPACE="default")) as stream:
            for url, names in (
                (CDS, ()),
                (EDS, ("outbound|80||empty.test",)),
                (LDS, ()),
            ):
                await stream.ask(url, *names)
                await stream.ack(await stream.told())
            for key in (loser, idle):
                await until(lambda key=key: _has(store, key), seconds=30)
            found = await statuses(store)
            (finding,) = found[loser].findings
            assert (finding.fault, finding.winner.name) == (TCP_OVER_TCP, "a")
            assert "*.a.test was there first" in finding.message
            (finding,) = found[idle].findings
            assert (finding.fault, finding.key) == ("pilot_unknown_hosts", "nobody.test")
            (entry,) = (await store.list(loser)).entries
            assert entry.lease

            numbers = await metrics(
                pilot,
                TCP_OVER_TCP,
                "pilot_eds_no_instances",
                "pilot_no_ip",
                "pilot_unknown_hosts",
                "pilot_unreadable_configs",
                "pilot_destrule_subsets",
            )
            assert numbers == [1, 1, 1, 1, 1, 0]

            listed = (await pilot.page("/debug/push_status"))["conflicts"]
            (told,) = listed[TCP_OVER_TCP].values()
            assert told["subject"] == "serviceentries default/b"
            assert told["winner"] == "serviceentries default/a"
            assert listed["pilot_no_ip"].keys() == {"client-1.default"}

            (change,) = changes(service("b"))
            await store.delete(change.key)
            await until(lambda: _lacks(store, loser), seconds=30)
            await until(lambda: _is(pilot, TCP_OVER_TCP, 0), seconds=30)
        for name in ("pilot_no_ip", "pilot_eds_no_instances"):
            await until(lambda name=name: _is(pilot, name, 0), seconds=30)


async def _has(store: Store, key: str) -> bool:
    return await store.get(key) is not None


async def _lacks(store: Store, key: str) -> bool:
    return await store.get(key) is None


async def _is(pilot: PilotProcess, name: str, value: float) -> bool:
    return await pilot.metric(f"{name} ") == value
