"""EnvoyFilters in a running Envoy (pilot.md K1 to K3, acceptance 29)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.core.v3.base_pb2 import Node

from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text
from mast.galley.core.problem import errors
from mast.pilot.core.model.finding import Fault
from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.resources import BOOTSTRAP, RDS
from tests.support.ads_server import ads_server, bootstrap, until
from tests.support.envoy_feed import envoy_feed
from tests.support.envoy_server import complaints, envoy_server
from tests.support.golden_view import resources_of, static
from tests.support.http_probe import echo_server, fetch
from tests.support.mesh_yaml import changes, sidecar_proxy, world
from tests.support.xds_client import xds_stream

T = "'@type': type.googleapis.com/envoy.extensions"
HCM = "envoy.filters.network.http_connection_manager"
WEB = "web.shop.svc.cluster.local"
MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [%s]
  addresses: [10.9.0.1]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 90, name: tcp, protocol: TCP}]
  endpoints: [{address: 127.0.0.1, ports: {http: PORT, tcp: PORT}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec:
  selector: {app: gw}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [web.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [%s, web.com]
  gateways: [gw, mesh]
  http: [{name: all, route: [{destination: {host: %s}}]}]
""" % (WEB, WEB, WEB)


def envoy_filter(*patches: str, name: str = "test") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}, namespace: shop}}
spec: {{configPatches: [{", ".join(patches)}]}}
"""


def patch(apply_to: str, operation: str, value: str = "", match: str = "{}") -> str:
    tail = f", value: {value}" if value and operation != "REMOVE" else ""
    return "{applyTo: %s, match: %s, patch: {operation: %s%s}}" % (
        apply_to, match, operation, tail,
    )  # fmt: skip


def mesh(*texts: str, port: int = 1) -> World:
    """A world of what Galley accepts."""
    whole = "".join((MESH.replace("PORT", str(port)), *texts))
    assert [str(each) for each in errors(judge(read_text(whole, "-", Defaults())).problems)] == []
    return world(whole)


def router() -> Proxy:
    node = Node(id="router~10.1.0.9~gw-1.shop~shop.svc.cluster.local")
    node.metadata.update({"NAMESPACE": "shop", "LABELS": {"app": "gw"}})
    return parse(node)


SIDECAR = sidecar_proxy(labels={"app": "web"})
LUA = "{name: new, typed_config: {%s.filters.http.lua.v3.Lua}}" % T
INSPECTOR = "{name: new, typed_config: {%s.filters.listener.http_inspector.v3.HttpInspector}}" % T
LIMIT = (
    "{name: new, typed_config: {%s.filters.network.connection_limit.v3.ConnectionLimit,"
    " stat_prefix: x, max_connections: 9}}" % T
)
ECHO_CHAIN = (
    "{name: new, filter_chain_match: {destination_port: 7}, filters:"
    " [{name: e, typed_config: {%s.filters.network.echo.v3.Echo}}]}" % T
)
LISTENER = "{name: %%s, address: {pipe: {path: /tmp/x}}, filter_chains: [%s]}" % ECHO_CHAIN
ROUTE = "{name: new, match: {prefix: /new}, direct_response: {status: 200}}"
HTTP = "0.0.0.0_80"
INSERTS = ("INSERT_FIRST", "INSERT_BEFORE", "INSERT_AFTER")
LISTED = ("MERGE", "MERGE_AND_REPLACE_LIST", "ADD", "REMOVE", *INSERTS)

ON_LISTENER = "{listener: {name: %s}}" % HTTP
ON_CHAIN = "{listener: {name: virtualOutbound, filterChain: {name: virtualOutbound-blackhole}}}"
ON_TCP = "{listener: {portNumber: 80, filterChain: {filter: {name: %s}}}}" % HCM
ON_FAULT = (
    "{listener: {filterChain: {filter: {name: %s, subFilter: {name: envoy.filters.http.fault}}}}}"
    % HCM
)
ON_INSPECTOR = "{listener: {name: virtualInbound, listenerFilter: envoy.listener.tls_inspector}}"
ON_HOST = "{routeConfiguration: {vhost: {name: '%s:80'}}}" % WEB
ON_ROUTE = "{routeConfiguration: {vhost: {name: '%s:80', route: {name: all}}}}" % WEB
ON_CLUSTER = "{cluster: {service: %s, portNumber: 80}}" % WEB
ON_GATEWAY = "{context: GATEWAY, routeConfiguration: {portNumber: 80, vhost: {name: 'web.com:80'}}}"


def cases() -> Iterator[tuple[str, str, Proxy]]:
    """Name, patches and proxy of each kind of object with each operation."""
    merged = {
        "LISTENER": ("{stat_prefix: x}", ON_LISTENER),
        "FILTER_CHAIN": ("{transport_socket_connect_timeout: 3s}", ON_CHAIN),
        "LISTENER_FILTER": ("{filter_disabled: {destination_port_range: {start: 1, end: 2}}}",
                            ON_INSPECTOR),
        "NETWORK_FILTER": ("{typed_config: {%s.filters.network.http_connection_manager.v3."
                           "HttpConnectionManager, stream_idle_timeout: 9s}}" % T, ON_TCP),
        "HTTP_FILTER": ("{typed_config: {%s.filters.http.fault.v3.HTTPFault,"
                        " max_active_faults: 3}}" % T, ON_FAULT),
        "ROUTE_CONFIGURATION": ("{request_headers_to_remove: [x]}", "{}"),
        "VIRTUAL_HOST": ("{response_headers_to_remove: [x]}", ON_HOST),
        "HTTP_ROUTE": ("{request_headers_to_remove: [x]}", ON_ROUTE),
        "CLUSTER": ("{connect_timeout: 7s}", ON_CLUSTER),
    }  # fmt: skip
    added = {
        "LISTENER": (LISTENER % "new", "{}", "REMOVE"),
        "FILTER_CHAIN": (ECHO_CHAIN, ON_CHAIN, "REMOVE"),
        "LISTENER_FILTER": (INSPECTOR, ON_INSPECTOR, ""),
        "NETWORK_FILTER": (LIMIT, ON_TCP, "ADD INSERT_AFTER REMOVE"),
        "HTTP_FILTER": (LUA, ON_FAULT, "ADD"),
        "ROUTE_CONFIGURATION": ("{name: new}", "{}", ""),
        "VIRTUAL_HOST": ("{name: new, domains: [new]}", ON_HOST, ""),
        "HTTP_ROUTE": (ROUTE, ON_ROUTE, ""),
        "CLUSTER": ("{name: new, type: STATIC, connect_timeout: 1s}", ON_CLUSTER, ""),
    }
    for apply_to in merged:
        for operation in LISTED:
            value, match = merged[apply_to]
            if "MERGE" not in operation:
                value, match, unsound = added[apply_to]
                if operation in unsound.split():
                    continue
            yield f"{apply_to} {operation}", patch(apply_to, operation, value, match), SIDECAR
    yield "LISTENER REMOVE", patch("LISTENER", "REMOVE", match=ON_LISTENER), SIDECAR
    chain = "{listener: {name: virtualInbound, portNumber: 15006}}"
    yield "FILTER_CHAIN REMOVE", patch("FILTER_CHAIN", "REMOVE", match=chain), SIDECAR
    filter_class = patch("HTTP_FILTER", "ADD, filterClass: AUTHZ", LUA, "{listener: {}}")
    yield "HTTP_FILTER ADD", filter_class, SIDECAR
    limit = patch("NETWORK_FILTER", "ADD, filterClass: STATS", LIMIT)
    yield "NETWORK_FILTER ADD", limit, SIDECAR
    limits = patch("NETWORK_FILTER", "INSERT_FIRST", LIMIT)
    named = "{listener: {filterChain: {filter: {name: new}}}}"
    removal = patch("NETWORK_FILTER", "REMOVE", match=named)
    after = patch("NETWORK_FILTER", "INSERT_AFTER", LIMIT.replace("new", "newer"), named)
    yield "NETWORK_FILTER INSERT_AFTER", f"{limits}, {after}", SIDECAR
    yield "NETWORK_FILTER INSERT and REMOVE", f"{limits}, {after}, {removal}", SIDECAR
    yield "LISTENER REPLACE", patch("LISTENER", "REPLACE", LISTENER % HTTP, ON_LISTENER), SIDECAR
    yield "FILTER_CHAIN REPLACE", patch("FILTER_CHAIN", "REPLACE", ECHO_CHAIN, ON_CHAIN), SIDECAR
    yield (
        "LISTENER_FILTER REPLACE",
        patch("LISTENER_FILTER", "REPLACE", INSPECTOR, ON_INSPECTOR),
        SIDECAR,
    )
    manager = (
        "{name: new, typed_config: {%s.filters.network.http_connection_manager.v3."
        "HttpConnectionManager, stat_prefix: x, route_config: {}, http_filters: [{name: r,"
        " typed_config: {%s.filters.http.router.v3.Router}}]}}" % (T, T)
    )
    yield "NETWORK_FILTER REPLACE", patch("NETWORK_FILTER", "REPLACE", manager, ON_TCP), SIDECAR
    yield "HTTP_FILTER REPLACE", patch("HTTP_FILTER", "REPLACE", LUA, ON_FAULT), SIDECAR
    yield (
        "VIRTUAL_HOST REPLACE",
        patch("VIRTUAL_HOST", "REPLACE", "{name: new, domains: [new]}", ON_HOST),
        SIDECAR,
    )
    for operation in ("MERGE", "INSERT_FIRST", "REMOVE"):
        value = "{name: changed}" if operation == "MERGE" else ROUTE
        yield (
            f"gateway HTTP_ROUTE {operation}",
            patch("HTTP_ROUTE", operation, value, ON_GATEWAY),
            router(),
        )
    listener = "{context: GATEWAY, listener: {portNumber: 80}}"
    for apply_to, value in (("NETWORK_FILTER", LIMIT), ("HTTP_FILTER", LUA)):
        yield f"gateway {apply_to}", patch(apply_to, "INSERT_FIRST", value, listener), router()
    yield (
        "gateway CLUSTER",
        patch("CLUSTER", "MERGE", "{connect_timeout: 7s}", "{context: GATEWAY}"),
        router(),
    )


def patch_failures(snapshot: MeshSnapshot) -> list[str]:
    found = snapshot.findings([SIDECAR, router()])
    return [each.message for each in found if each.fault is Fault.PATCH]


async def test_every_object_and_operation(tmp_path: Path) -> None:
    """Acceptance 29: each changes the configuration, and Envoy takes it without complaint."""
    plain = {each.type: resources_of(mesh().snapshot(1).view(each)) for each in (SIDECAR, router())}
    wrong: dict[str, object] = {}
    async with envoy_feed(tmp_path) as feed:
        for name, text, proxy in cases():
            snapshot = mesh(envoy_filter(text)).snapshot(1)
            view = snapshot.view(proxy)
            resources = resources_of(view)
            if found := patch_failures(snapshot):
                wrong[name] = found
            elif name.startswith("ROUTE_CONFIGURATION") and "new" in text:
                assert view.named(RDS, "new")
            elif resources == plain[proxy.type]:
                wrong[name] = "nothing changed"
            if complaint := await feed.give(resources):
                wrong[name] = complaint
    assert wrong == {}


BROKEN = {
    "filter behind the router": patch("HTTP_FILTER", "ADD", LUA),
    "filter behind the proxy": patch("NETWORK_FILTER", "ADD", LIMIT),
    "no filters left": patch("HTTP_FILTER", "REMOVE", match=ON_FAULT.replace("fault", "router")),
    "other source of endpoints": patch("CLUSTER", "MERGE", "{type: STRICT_DNS}", ON_CLUSTER),
    "domain that is taken": patch("VIRTUAL_HOST", "ADD", "{name: new, domains: ['*']}"),
    "name that is taken": patch("CLUSTER", "ADD", "{name: PassthroughCluster}"),
    "equal chain": patch(
        "FILTER_CHAIN",
        "ADD",
        ECHO_CHAIN.replace("destination_port: 7", "destination_port: 15001"),
        "{listener: {name: virtualOutbound}}",
    ),
    "settings of another filter": patch(
        "HTTP_FILTER", "MERGE", LUA.replace("name: new, ", ""), ON_FAULT
    ),
}


async def test_a_broken_patch_changes_nothing_else(tmp_path: Path) -> None:
    """Acceptance 29: it is left out and told, and the rest is as if it did not exist."""
    good = patch("CLUSTER", "MERGE", "{connect_timeout: 7s}", "{context: SIDECAR_OUTBOUND}")
    expected = resources_of(mesh(envoy_filter(good)).snapshot(1).view(SIDECAR))
    for name, broken in BROKEN.items():
        snapshot = mesh(envoy_filter(broken, good)).snapshot(1)
        assert resources_of(snapshot.view(SIDECAR)) == expected, name
        assert patch_failures(snapshot), name
    async with envoy_feed(tmp_path) as feed:
        assert await feed.give(expected) == []


TRAFFIC = (
    patch("LISTENER", "MERGE", "{address: {socket_address: {address: 127.0.0.1, port_value: 0}}}",
          "{listener: {name: virtualOutbound}}"),
    patch("LISTENER", "REMOVE", match="{listener: {name: virtualInbound}}"),
    patch("LISTENER_FILTER", "REMOVE", match="{listener: {name: virtualOutbound,"
          " listenerFilter: envoy.filters.listener.original_dst}}"),
    patch("LISTENER_FILTER", "INSERT_FIRST", "{name: proxy, typed_config:"
          " {%s.filters.listener.proxy_protocol.v3.ProxyProtocol}}" % T,
          "{listener: {name: virtualOutbound}}"),
    patch("NETWORK_FILTER", "MERGE", "{typed_config: {%s.filters.network.http_connection_manager"
          ".v3.HttpConnectionManager, server_name: patched,"
          " server_header_transformation: OVERWRITE}}" % T,
          "{context: SIDECAR_OUTBOUND, listener: {filterChain: {filter: {name: %s}}}}" % HCM),
    patch("HTTP_FILTER", "INSERT_BEFORE", "{name: greeter, typed_config:"
          " {%s.filters.http.lua.v3.Lua, default_source_code: {inline_string:"
          " \"function envoy_on_request(h) h:headers():add('x-lua', 'yes') end\"}}}" % T,
          "{context: SIDECAR_OUTBOUND, listener: {filterChain: {filter: {name:"
          " envoy.http_connection_manager, subFilter: {name: envoy.router}}}}}"),
    patch("VIRTUAL_HOST", "MERGE",
          "{response_headers_to_add: [{header: {key: x-host, value: merged}}]}", ON_HOST),
    patch("HTTP_ROUTE", "MERGE", "{route: {prefix_rewrite: /rewritten/}, request_headers_to_add:"
          " [{header: {key: x-route, value: merged}}]}", ON_ROUTE),
    patch("HTTP_ROUTE", "INSERT_FIRST", "{match: {path: /direct}, direct_response:"
          " {status: 299}}", ON_HOST),
    patch("CLUSTER", "MERGE", "{alt_stat_name: patched}", ON_CLUSTER),
    patch("HTTP_FILTER", "ADD", LUA),
)  # fmt: skip


async def test_traffic_is_changed(tmp_path: Path) -> None:
    """Listener filters, filters, routes, virtual hosts and clusters; beside a broken patch."""
    async with echo_server("web") as server:
        found = mesh(envoy_filter(*TRAFFIC), port=server.port).snapshot(1).view(SIDECAR)
        async with envoy_server(static(resources_of(found)), tmp_path) as envoy:
            port = envoy.ports["virtualOutbound"]
            reply = await fetch(port, WEB, "/page", captured_for="10.9.0.1:80")
            direct = await fetch(port, WEB, "/direct", captured_for="10.9.0.1:80")
            assert (reply.status, direct.status) == (200, 299)
            assert (reply.header("server"), reply.header("x-host")) == ("patched", "merged")
            echo = reply.echo
            assert echo.path == "/rewritten/page"
            assert (echo.header("x-lua"), echo.header("x-route")) == ("yes", "merged")
            assert await envoy.stat("cluster.patched.upstream_rq_total") == 1
            assert complaints(envoy.log.read_text()) == []


class WorldMesh:
    """A world behind the ADS of tests."""

    def __init__(self, made: World) -> None:
        self.world = made
        self.revision = 0

    def snapshot(self) -> MeshSnapshot:
        self.revision += 1
        return self.world.snapshot(self.revision)


def own_listener(port: int, greeting: str) -> str:
    """Patches that make a listener, its routes, cluster and, by ECDS, a filter."""
    source = f"function envoy_on_request(h) h:headers():add('x-lua', '{greeting}') end"
    return envoy_filter(
        patch("LISTENER", "REMOVE", match="{listener: {name: virtualOutbound}}"),
        patch("LISTENER", "REMOVE", match="{listener: {name: virtualInbound}}"),
        patch("LISTENER", "ADD", "{name: mine, address: {socket_address: {address: 127.0.0.1,"
              " port_value: 0}}, filter_chains: [{filters: [{name: hcm, typed_config: {"
              "%s.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix:"
              " mine, rds: {route_config_name: mine, config_source: {ads: {},"
              " resource_api_version: V3}}, http_filters: [{name: greeter, config_discovery:"
              " {config_source: {ads: {}, resource_api_version: V3}, type_urls:"
              " [type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua]}},"
              " {name: router, typed_config: {%s.filters.http.router.v3.Router}}]}}]}]}" % (T, T)),
        patch("ROUTE_CONFIGURATION", "ADD", "{name: mine, virtual_hosts: [{name: all, domains:"
              " ['*'], routes: [{match: {prefix: /}, route: {cluster: mine}}]}]}"),
        patch("CLUSTER", "ADD", "{name: mine, type: STATIC, connect_timeout: 1s, load_assignment:"
              " {cluster_name: mine, endpoints: [{lb_endpoints: [{endpoint: {address:"
              " {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}}" % port),
        patch("EXTENSION_CONFIG", "ADD", "{name: greeter, typed_config: {%s.filters.http.lua.v3"
              '.Lua, default_source_code: {inline_string: "%s"}}}' % (T, source)),
    )  # fmt: skip


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_whole_resources_are_added_over_ads(tmp_path: Path, delta: bool) -> None:
    """A listener with routes, a cluster and a filter by ECDS, which changes without a drain."""
    async with echo_server("web") as server:
        served = WorldMesh(mesh(own_listener(server.port, "hello")))
        async with (
            ads_server(served) as ads,  # type: ignore[arg-type]
            envoy_server(bootstrap(ads.port, delta=delta), tmp_path) as envoy,
        ):
            await until(lambda: _listening(envoy.admin))
            port = await _listening(envoy.admin)
            assert (await fetch(port, "any")).echo.header("x-lua") == "hello"
            served.world.apply(changes(own_listener(server.port, "goodbye")))
            await ads.push()

            async def changed() -> bool:
                return (await fetch(port, "any")).echo.header("x-lua") == "goodbye"

            await until(changed)
            assert await envoy.stat("listener_manager.listener_modified") == 0
            assert complaints(envoy.log.read_text()) == []


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_agents_are_told_what_the_bootstrap_needs(delta: bool) -> None:
    """One resource with all that is to be merged; an empty answer if there is nothing."""
    tags = patch("BOOTSTRAP", "MERGE", "{stats_config: {stats_tags: [{tag_name: a}]}}")
    more = patch("BOOTSTRAP", "MERGE", "{stats_config: {stats_tags: [{tag_name: b}]}}")
    for texts, expected in (((envoy_filter(tags, more),), [["a", "b"]]), ((), [])):
        async with (
            ads_server(WorldMesh(mesh(*texts))) as ads,  # type: ignore[arg-type]
            xds_stream(f"127.0.0.1:{ads.port}", delta=delta) as stream,
        ):
            await stream.ask(BOOTSTRAP)
            answer = await stream.told()
            found = [each.resource if delta else each for each in answer.resources]
            told = [Bootstrap.FromString(each.value) for each in found]
            names = [[tag.tag_name for tag in each.stats_config.stats_tags] for each in told]
            assert names == expected


async def _listening(admin: str) -> int:
    """Port of the added listener; 0 while there is none."""
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{admin}/listeners?format=json") as answer,
    ):
        statuses = (await answer.json(content_type=None)).get("listener_statuses", [])
    mine = (each["local_address"] for each in statuses if each["name"] == "mine")
    return next((int(each["socket_address"]["port_value"]) for each in mine), 0)
