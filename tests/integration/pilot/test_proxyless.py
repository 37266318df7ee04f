"""gRPC's own xDS clients and servers in a mesh: Pilot on etcd, no proxy (pilot.md B29, item 32)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio
from grpc import aio

from mast.common.etcd import EtcdConfig, Store, connect
from tests.support.ads_server import until
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.etcd_server import etcd_server, free_port
from tests.support.golden_view import resources_of, static
from tests.support.mesh_yaml import changes, sidecar_proxy, world
from tests.support.pilot_process import PilotProcess, pilot_process
from tests.support.pki import Ca
from tests.support.proxyless import (
    Caller,
    Workload,
    caller,
    echo,
    server,
    write_certificates,
)
from tests.support.secret_files import (
    cluster_with_secret_files,
    with_secret_files,
    write_secrets,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ISTIO = {"security.istio.io/tlsMode": "istio"}
POLICY = """
{{apiVersion: security.istio.io/v1, kind: PeerAuthentication,
 metadata: {{name: default, namespace: {namespace}}}, spec: {{mtls: {{mode: {mode}}}}}}}
"""


@dataclass
class Mesh:
    """A Pilot, its store, and where programs find their files."""

    pilot: PilotProcess
    store: Store
    directory: Path
    ca: Ca

    async def apply(self, *texts: str) -> None:
        for each in changes(*texts):
            await self.store.put(each.key, each.value)

    async def remove(self, *texts: str) -> None:
        for each in changes(*texts):
            await self.store.delete(each.key)

    def workload(
        self,
        name: str,
        namespace: str = "default",
        *,
        labels: Mapping[str, str] | None = None,
        locality: str = "",
    ) -> dict[str, str]:
        """The environment of a program with the identity of its name."""
        identity = f"spiffe://cluster.local/ns/{namespace}/sa/{name}"
        found = Workload(
            pilot=self.pilot.ads,
            directory=self.directory,
            name=name,
            namespace=namespace,
            labels=labels,
            locality=locality,
            certificates=write_certificates(
                self.directory / f"{name}.{namespace}", self.ca, self.ca.leaf(uris=[identity])
            ),
        )
        return found.environment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    with TemporaryDirectory() as directory:
        where = Path(directory)
        async with (
            etcd_server(where) as etcd,
            connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
            pilot_process(etcd.endpoint, where) as pilot,
        ):
            yield Mesh(pilot, store, where, Ca.root())
            assert await pilot.metric("pilot_total_xds_rejects") == 0


def service(name: str, *endpoints: str, namespace: str = "default", protocol: str = "GRPC") -> str:
    listed = "".join(f"\n  - {{address: 127.0.0.1, {each}}}" for each in endpoints)
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}.{namespace}.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 8080, name: main, protocol: {protocol}}}]
  endpoints: {listed or "[]"}
"""


def at(port: int, **more: str) -> str:
    fields = "".join(f", {key}: {value}" for key, value in more.items())
    return f"ports: {{main: {port}}}{fields}"


def rules(name: str, http: str) -> str:
    """Subsets v1 and v2 of a service, and its routes."""
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec:
  host: {name}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}]
  http: {http}
"""


def to(name: str, subset: str, weight: int = 0) -> str:
    return f"{{destination: {{host: {name}, subset: {subset}}}, weight: {weight}}}"


@asynccontextmanager
async def two_versions(mesh: Mesh, name: str, http: str) -> AsyncIterator[Caller]:
    """A client of a service of two versions, `one` and `two`."""
    async with (
        echo("one") as one,
        echo("two") as two,
    ):
        await mesh.apply(
            service(name, at(one, labels="{version: v1}"), at(two, labels="{version: v2}")),
            rules(name, http),
        )
        async with caller(mesh.workload("client"), f"xds:///{name}:8080") as client:
            await client.until("", text="a")
            yield client


@pytest.mark.parametrize(
    "target",
    ["names", "names.default", "names.default.svc", "names.default.svc.cluster.local"],
)
async def test_every_form_of_a_name_is_a_target(mesh: Mesh, target: str) -> None:
    async with echo("named") as port:
        await mesh.apply(service("names", at(port)))
        async with caller(mesh.workload("client"), f"xds:///{target}:8080") as client:
            assert await client.until("named", text="a") == "named heard a"


async def test_weights_count_and_change_while_calls_go_on(mesh: Mesh) -> None:
    split = f"[{{route: [{to('split', 'v1', 80)}, {to('split', 'v2', 20)}]}}]"
    async with two_versions(mesh, "split", split) as client:
        told = await client.calls("a", count=1000)
        assert told.keys() == {"one heard a", "two heard a"}
        assert 140 < told["two heard a"] < 260
        await mesh.apply(rules("split", f"[{{route: [{to('split', 'v2')}]}}]"))
        await client.until("two", text="b")
        async with until_only(client, "two heard c"):
            pass


@asynccontextmanager
async def until_only(client: Caller, answer: str) -> AsyncIterator[None]:
    """Nothing else is answered any more."""

    async def alone() -> bool:
        text = answer.rpartition(" ")[2]
        return (await client.calls(text, count=50)).keys() == {answer}

    await until(alone, seconds=30)
    yield


async def test_matches_of_headers_and_methods(mesh: Mesh) -> None:
    http = f"""
  - match: [{{headers: {{end-user: {{exact: jason}}}}}}]
    route: [{to("matched", "v2")}]
  - match: [{{withoutHeaders: {{keep: {{exact: "yes"}}}}, uri: {{exact: /test.Echo/Slow}}}}]
    route: [{to("matched", "v2")}]
  - match: [{{method: {{exact: GET}}}}]
    route: [{to("matched", "v2")}]
  - match: [{{uri: {{exact: /test.Echo/Redirect}}}}]
    redirect: {{authority: elsewhere}}
  - route: [{to("matched", "v1")}]
"""
    async with two_versions(mesh, "matched", http) as client:
        assert await client.call("a") == "one heard a"
        assert await client.call("a", metadata={"end-user": "jason"}) == "two heard a"
        assert await client.call("a", metadata={"end-user": "jasonx"}) == "one heard a"
        assert await client.call("a", method="Slow") == "two heard a"
        assert await client.call("a", method="Slow", metadata={"keep": "no"}) == "two heard a"
        assert await client.call("a", method="Slow", metadata={"keep": "yes"}) == "one heard a"
        assert (await client.call("a", method="Redirect")).startswith("UNAVAILABLE")

        async def told() -> bool:
            return "redirect: such calls fail" in str(await mesh.pilot.page("/debug/push_status"))

        await until(told, seconds=30)


async def test_timeouts_retries_and_faults(mesh: Mesh) -> None:
    http = f"""
  - match: [{{uri: {{exact: /test.Echo/Slow}}}}]
    timeout: 0.3s
    route: [{to("tried", "v1")}]
  - match: [{{uri: {{exact: /test.Echo/Abort}}}}]
    fault: {{abort: {{grpcStatus: PERMISSION_DENIED, percentage: {{value: 100}}}}}}
    route: [{to("tried", "v1")}]
  - match: [{{uri: {{exact: /test.Echo/Redirect}}}}]
    retries: {{attempts: 0}}
    route: [{to("tried", "v1")}]
  - retries: {{attempts: 2, retryOn: "unavailable", backoff: 0.01s}}
    route: [{to("tried", "v1")}]
"""
    async with two_versions(mesh, "tried", http) as client:
        late = await client.call("a", method="Slow", metadata={"delay": "10"})
        assert late.startswith("DEADLINE_EXCEEDED")
        assert (await client.call("a", method="Abort")).startswith("PERMISSION_DENIED")
        assert await client.call("b", metadata={"fail-first": "2"}) == "one heard b"
        failed = await client.call("c", metadata={"fail-first": "9"})
        assert failed == "UNAVAILABLE not yet"
        failed = await client.call("d", method="Redirect", metadata={"fail-first": "1"})
        assert failed == "UNAVAILABLE not yet"


async def test_a_hash_of_a_header_sticks(mesh: Mesh) -> None:
    ring = """
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: sticky},
 spec: {host: sticky, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: user}}}}}
"""
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(echo(each)) for each in ("a", "b", "c")]
        await mesh.apply(service("sticky", *map(at, ports)), ring)
        client = await stack.enter_async_context(
            caller(mesh.workload("client"), "xds:///sticky:8080")
        )
        await client.until("", text="x")
        users = [f"user-{each}" for each in range(20)]
        found = {
            each: set(await client.calls("x", count=10, metadata={"user": each})) for each in users
        }
        assert all(len(each) == 1 for each in found.values())
        assert len(set.union(*found.values())) > 1


async def test_calls_go_elsewhere_when_the_nearest_are_gone(mesh: Mesh) -> None:
    near_first = """
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: placed},
 spec: {host: placed, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3},
        loadBalancer: {localityLbSetting: {enabled: true}}}}}
"""
    async with echo("far") as far, AsyncExitStack() as stack:
        near = await stack.enter_async_context(echo("near"))
        await mesh.apply(
            service("placed", at(near, locality="r1/z1"), at(far, locality="r2/z1")), near_first
        )
        client = await stack.enter_async_context(
            caller(mesh.workload("client", locality="r1/z1/s1"), "xds:///placed:8080")
        )
        await client.until("near", text="a")
        assert (await client.calls("a", count=50)).keys() == {"near heard a"}
        async with echo("again") as again:
            # The nearest refuses connections from here on.
            closed = free_port()
            await mesh.apply(
                service("placed", at(closed, locality="r1/z1"), at(far, locality="r2/z1"))
            )
            await client.until("far", text="b")
            await mesh.apply(
                service("placed", at(again, locality="r1/z1"), at(far, locality="r2/z1"))
            )
            await client.until("again", text="c")


async def test_an_unknown_target_is_unavailable(mesh: Mesh) -> None:
    async with caller(mesh.workload("client"), "xds:///nobody:8080") as client:
        assert (await client.call("a")).startswith("UNAVAILABLE")
        async with echo("somebody") as port:
            await mesh.apply(service("nobody", at(port)))
            assert await client.until("somebody", text="a") == "somebody heard a"


async def test_names_are_resolved_by_grpc_where_the_mesh_does_not_know_addresses(
    mesh: Mesh,
) -> None:
    async with echo("outside") as port:
        outside = service("outside", at(port)).replace("127.0.0.1", "localhost")
        await mesh.apply(outside.replace("STATIC", "DNS"))
        async with caller(mesh.workload("client"), "xds:///outside:8080") as client:
            assert await client.until("outside", text="a") == "outside heard a"


MUTUAL = """
{{apiVersion: networking.istio.io/v1, kind: DestinationRule,
 metadata: {{name: {name}, namespace: {name}}}, spec: {{host: {name}.{name}.svc.cluster.local,
 trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL{more}}}}}}}}}
"""


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE"])
async def test_mutual_tls_is_automatic_between_programs(mesh: Mesh, mode: str) -> None:
    port, name = free_port(), f"programs-{mode.lower()}"
    await mesh.apply(
        service(
            name,
            at(port, labels="{security.istio.io/tlsMode: istio}", serviceAccount=name),
            namespace=name,
        ),
        POLICY.format(namespace=name, mode=mode),
    )
    environment = mesh.workload(name, name, labels=ISTIO)
    target = f"xds:///{name}.{name}:8080"
    async with (
        server(environment, "program", f"127.0.0.1:{port}", secure=True),
        caller(mesh.workload("client"), target, secure=True) as client,
        caller(mesh.workload("stranger"), target) as stranger,
    ):
        mine = "program heard a from spiffe://cluster.local/ns/default/sa/client"
        assert await client.until("program", text="a") == mine
        assert (await stranger.call("a")).startswith("UNAVAILABLE")
        # Nobody with another identity may answer.
        await mesh.apply(MUTUAL.format(name=name, more=", subjectAltNames: ['spiffe://x/y']"))
        await client.until("UNAVAILABLE", text="b", timeout=5)
        await mesh.apply(MUTUAL.format(name=name, more=""))
        await client.until("program", text="c", timeout=5)


async def test_without_mutual_tls_what_the_program_falls_back_to_counts(mesh: Mesh) -> None:
    port = free_port()
    await mesh.apply(
        service("plain", at(port), namespace="plain"),
        POLICY.format(namespace="plain", mode="DISABLE"),
    )
    environment = mesh.workload("plain", "plain", labels=ISTIO)
    async with (
        server(environment, "plain", f"127.0.0.1:{port}", secure=True),
        caller(mesh.workload("client"), "xds:///plain.plain:8080", secure=True) as client,
    ):
        await until(lambda: _hears(client, "plain heard a from "))


async def _hears(client: Caller, answer: str) -> bool:
    """Whether this is the answer now: a server may have come before the policy for it."""
    return await client.call("a") == answer


async def test_a_policy_changes_the_server_while_it_runs(mesh: Mesh) -> None:
    port = free_port()
    await mesh.apply(
        service(
            "turned", at(port, labels="{security.istio.io/tlsMode: istio}"), namespace="turned"
        ),
        POLICY.format(namespace="turned", mode="DISABLE"),
    )
    environment = mesh.workload("turned", "turned", labels=ISTIO)
    async with (
        server(environment, "turned", f"0.0.0.0:{port}", secure=True),
        caller(mesh.workload("client"), "xds:///turned.turned:8080", secure=True) as client,
    ):
        await until(lambda: _hears(client, "turned heard a from "))
        await mesh.apply(POLICY.format(namespace="turned", mode="STRICT"))
        secured = "turned heard b from spiffe://cluster.local/ns/default/sa/client"
        assert await client.until(secured, text="b") == secured


@asynccontextmanager
async def sidecar(
    mesh: Mesh, directory: Path, name: str, *texts: str
) -> AsyncIterator[EnvoyServer]:
    """The Envoy beside the server of a service on port 8080, or a client's, on ports of its own."""
    directory.mkdir()
    identity = f"spiffe://cluster.local/ns/{name}/sa/{name}"
    write_secrets(directory, mesh.ca, mesh.ca.leaf(uris=[identity]))
    proxy = sidecar_proxy(
        name,
        ip="127.0.0.1",
        labels={"app": name},
        INTERCEPTION_MODE="NONE",
        APP_ENDPOINTS={"8080": texts[0]},
    )
    config = static(resources_of(world(*texts[1:]).snapshot(1).view(proxy)))
    for each in config.static_resources.listeners:
        each.CopyFrom(with_secret_files(each, directory))
        each.address.socket_address.port_value = 0
    for each in config.static_resources.clusters:
        each.CopyFrom(cluster_with_secret_files(each, directory))
    async with envoy_server(config, directory) as envoy:
        yield envoy
        assert complaints(envoy.log.read_text()) == []


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE"])
async def test_mutual_tls_with_a_server_behind_a_proxy(
    mesh: Mesh, mode: str, tmp_path: Path
) -> None:
    name = f"proxied-{mode.lower()}"
    policy = POLICY.format(namespace=name, mode=mode)
    selecting = service(name, namespace=name).replace(
        "endpoints: []", f"workloadSelector: {{labels: {{app: {name}}}}}"
    )
    async with (
        echo("behind") as behind,
        sidecar(mesh, tmp_path / "server", name, f"127.0.0.1:{behind}", selecting, policy) as envoy,
    ):
        port = envoy.ports["127.0.0.1_8080"]
        await mesh.apply(
            service(
                name,
                at(port, labels="{security.istio.io/tlsMode: istio}", serviceAccount=name),
                namespace=name,
            ),
            policy,
        )
        target = f"xds:///{name}.{name}:8080"
        async with caller(mesh.workload("client"), target, secure=True) as client:
            assert await client.until("behind", text="a") == "behind heard a"
        assert await envoy.stat("listener.127.0.0.1_0.ssl.handshake") > 0


async def test_a_proxy_reaches_a_program_that_has_none(mesh: Mesh, tmp_path: Path) -> None:
    port, name = free_port(), "reached"
    policy = POLICY.format(namespace=name, mode="STRICT")
    program = service(
        name,
        at(port, labels="{security.istio.io/tlsMode: istio}", serviceAccount=name),
        namespace=name,
    )
    await mesh.apply(program, policy)
    async with (
        server(mesh.workload(name, name, labels=ISTIO), name, f"127.0.0.1:{port}", secure=True),
        sidecar(mesh, tmp_path / "client", name, "127.0.0.1:1", program, policy) as envoy,
        aio.insecure_channel(
            f"127.0.0.1:{envoy.ports['127.0.0.1_8080']}",
            options=[("grpc.default_authority", f"{name}:8080")],
        ) as channel,
    ):
        answer: bytes = await channel.unary_unary("/test.Echo/Say")(b"a", timeout=20)
        assert answer.decode() == f"{name} heard a from spiffe://cluster.local/ns/{name}/sa/{name}"


GUARD = """
{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy,
 metadata: {{name: {name}, namespace: guarded}}, spec: {{action: {action}, {more}rules: [{rule}]}}}}
"""


async def test_servers_refuse_what_policies_do(mesh: Mesh) -> None:
    """RBAC in gRPC itself: callers, methods, headers; what it cannot judge is refused (J4)."""
    port = free_port()
    allow = "{from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]}"
    deny = (
        "{to: [{operation: {paths: ['/test.Echo/{*}'], methods: [POST]}}],"
        " when: [{key: 'request.headers[x-tier]', values: ['free*']}]}"
    )
    ask = "{when: [{key: 'request.headers[x-ask]', values: ['*']}]}"
    await mesh.apply(
        service(
            "guarded", at(port, labels="{security.istio.io/tlsMode: istio}"), namespace="guarded"
        ),
        POLICY.format(namespace="guarded", mode="STRICT"),
        GUARD.format(name="allow", action="ALLOW", more="", rule=allow),
        GUARD.format(name="deny", action="DENY", more="", rule=deny),
        GUARD.format(name="ask", action="CUSTOM", more="provider: {name: x}, ", rule=ask),
        GUARD.format(name="audit", action="AUDIT", more="", rule="{}"),
    )
    environment = mesh.workload("guarded", "guarded", labels=ISTIO)
    target = "xds:///guarded.guarded:8080"
    async with (
        server(environment, "guarded", f"0.0.0.0:{port}", secure=True),
        caller(mesh.workload("client"), target, secure=True) as client,
        caller(mesh.workload("other"), target, secure=True) as other,
    ):
        await client.until("guarded heard a", text="a")
        await client.until("guarded heard b", text="b", metadata={"x-tier": "gold"})
        for told in ({"x-tier": "free"}, {"x-tier": "freemium"}, {"x-ask": "me"}):
            await client.until("PERMISSION_DENIED", text="c", metadata=told)
        await other.until("PERMISSION_DENIED", text="a")
        await mesh.remove(GUARD.format(name="allow", action="ALLOW", more="", rule=allow))
        await other.until("guarded heard d", text="d")
        # What is denied stays denied.
        assert (await client.call("e", metadata={"x-ask": "me"})).startswith("PERMISSION_DENIED")


OLD_GUARDS = """
apiVersion: rbac.istio.io/v1alpha1
kind: ClusterRbacConfig
metadata: {name: default}
spec: {mode: ON_WITH_INCLUSION, inclusion: {namespaces: [roles]}}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRole
metadata: {name: callers, namespace: roles}
spec:
  rules:
  - services: [roles]
    paths: [/test.Echo/*]
    constraints: [{key: "request.headers[x-tier]", values: [gold]}]
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: callers, namespace: roles}
spec:
  subjects: [{user: cluster.local/ns/default/sa/client}]
  roleRef: {kind: ServiceRole, name: callers}
"""
TOKENS_NEEDED = """
apiVersion: authentication.istio.io/v1alpha1
kind: Policy
metadata: {name: default, namespace: roles}
spec:
  peers: [{mtls: {}}]
  origins:
  - jwt: {issuer: a, jwksUri: "https://a.test", triggerRules: [{excludedPaths: [{suffix: Say}]}]}
"""


async def test_servers_refuse_what_roles_do(mesh: Mesh) -> None:
    """RBAC of Istio 1.4 in gRPC itself (pilot.md J7); tokens cannot be checked (J8)."""
    port, gold = free_port(), {"x-tier": "gold"}
    await mesh.apply(
        service("roles", at(port, labels="{security.istio.io/tlsMode: istio}"), namespace="roles"),
        POLICY.format(namespace="roles", mode="STRICT"),
        *OLD_GUARDS.split("---"),
    )
    environment = mesh.workload("roles", "roles", labels=ISTIO)
    target = "xds:///roles.roles:8080"
    async with (
        server(environment, "roles", f"0.0.0.0:{port}", secure=True),
        caller(mesh.workload("client"), target, secure=True) as client,
        caller(mesh.workload("other"), target, secure=True) as other,
    ):
        await client.until("roles heard a", text="a", metadata=gold)
        await client.until("PERMISSION_DENIED", text="b")
        await other.until("PERMISSION_DENIED", text="a", metadata=gold)
        await mesh.apply(TOKENS_NEEDED.replace("suffix: Say", "suffix: Other"))
        await client.until("PERMISSION_DENIED", text="c", metadata=gold)
        await mesh.apply(TOKENS_NEEDED)
        await client.until("roles heard d", text="d", metadata=gold)
