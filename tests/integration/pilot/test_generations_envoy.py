"""Policies of Istio 1.4 and their modern equivalents give the same verdicts (checklist 28).

Each pair of them is two listeners of one Envoy that meet the same calls: requests, connections and
calls of gRPC, with and without certificates and tokens.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
import yaml
from envoy.config.listener.v3.listener_pb2 import Listener

from mast.pilot.core import names
from mast.pilot.core.xds.resources import LDS
from tests.support.authorization_cases import (
    HTTP_PORTS,
    LABELS,
    NAMESPACE,
    TCP_PORTS,
    Case,
    calls,
    chance_of,
)
from tests.support.authorization_envoy import SIGNERS, Callers, inbound, observed, running
from tests.support.authorization_reference import Call, Document, Place
from tests.support.envoy_server import complaints, envoy_server
from tests.support.envoy_static import bootstrap, cluster
from tests.support.mesh_yaml import sidecar_proxy, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLACE = Place(namespace=NAMESPACE, labels=LABELS)
CART = "cluster.local/ns/shop/sa/cart"
ONE = SIGNERS["https://one.test"]
JWT = {"issuer": ONE.name, "jwks": ONE.jwks}
TARGETS = [{"name": "web"}]
ANYBODY = [{"user": "*"}]
ON = {"mode": "ON"}


def made(api: str, kind: str, spec: Mapping[str, Any], namespace: str = NAMESPACE) -> Document:
    name = "default" if kind.endswith(("Config", "MeshPolicy")) else "it"
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def roles(
    rule: Mapping[str, Any],
    subjects: Sequence[Mapping[str, Any]] = ANYBODY,
    config: Mapping[str, Any] = ON,
) -> Sequence[Document]:
    """Access by one role; everything is refused that it does not allow."""
    api = "rbac.istio.io/v1alpha1"
    bound = {"roleRef": {"kind": "ServiceRole", "name": "it"}, "subjects": subjects}
    return [
        made(api, "ClusterRbacConfig", config, ""),
        made(api, "ServiceRole", {"rules": [{"services": ["*"], **rule}]}),
        made(api, "ServiceRoleBinding", bound),
    ]


def old_policy(name: str = "it", namespace: str = NAMESPACE, **spec: Any) -> Document:
    document = made("authentication.istio.io/v1alpha1", "Policy", spec, namespace)
    return {**document, "metadata": {"name": name, "namespace": namespace}}


def mesh_policy(**spec: Any) -> Document:
    return made("authentication.istio.io/v1alpha1", "MeshPolicy", spec, "")


def allowing(*rules: Mapping[str, Any]) -> Document:
    return made("security.istio.io/v1", "AuthorizationPolicy", {"rules": [*rules]})


def peers(mode: str, namespace: str = NAMESPACE, **spec: Any) -> Document:
    spec = {"mtls": {"mode": mode}, **spec}
    return made("security.istio.io/v1", "PeerAuthentication", spec, namespace)


def operation(**fields: Any) -> Mapping[str, Any]:
    return {"to": [{"operation": fields}]}


def source(**fields: Any) -> Mapping[str, Any]:
    return {"from": [{"source": fields}]}


def when(key: str, *values: str) -> Mapping[str, Any]:
    return {"when": [{"key": key, "values": [*values]}]}


def constraint(key: str, *values: str) -> Mapping[str, Any]:
    return {"constraints": [{"key": key, "values": [*values]}]}


SELECTED = {"selector": {"matchLabels": {"app": "web"}}}
MUTUAL, PERMISSIVE = [{"mtls": {}}], [{"mtls": {"mode": "PERMISSIVE"}}]
OF_ONE = when("request.auth.claims[iss]", ONE.name)

PAIRS: Mapping[str, tuple[Sequence[Document], Sequence[Document]]] = {
    "nothing-is-allowed": (roles({"services": ["other"]}), [allowing()]),
    "everything-is-allowed": (roles({}), [allowing({})]),
    "other-namespaces": (
        roles({}, config={"mode": "ON_WITH_INCLUSION", "inclusion": {"namespaces": ["a"]}}),
        [],
    ),
    "requests": (
        roles({"methods": ["GET", "P*"], "paths": ["/a*"], "hosts": ["*.test"]}),
        [allowing(operation(methods=["GET", "P*"], paths=["/a*"], hosts=["*.test"]))],
    ),
    "other-requests": (
        roles({"notMethods": ["GET"], "notPaths": ["/a*"], "notHosts": ["shop.test"]}),
        [allowing(operation(notMethods=["GET"], notPaths=["/a*"], notHosts=["shop.test"]))],
    ),
    "ports": (
        roles({"ports": [HTTP_PORTS[0], TCP_PORTS[0]]}),
        [allowing(operation(ports=[str(HTTP_PORTS[0]), str(TCP_PORTS[0])]))],
    ),
    "other-ports": (
        roles({"notPorts": [HTTP_PORTS[0], TCP_PORTS[0]]}),
        [allowing(operation(notPorts=[str(HTTP_PORTS[0]), str(TCP_PORTS[0])]))],
    ),
    "address": (
        roles(constraint("destination.ip", "10.1.0.8/31")),
        [allowing(when("destination.ip", "10.1.0.8/31"))],
    ),
    "server-name": (
        roles(constraint("connection.sni", "*.test")),
        [allowing(when("connection.sni", "*.test"))],
    ),
    "header": (
        roles(constraint("request.headers[x-role]", "admin*")),
        [allowing(when("request.headers[x-role]", "admin*"))],
    ),
    "workload": (
        roles(constraint("destination.labels[version]", "v1")),
        [{**allowing({}), "spec": {"selector": {"matchLabels": {"version": "v1"}}, "rules": [{}]}}],
    ),
    "identity": (roles({}, [{"user": CART}]), [allowing(source(principals=[CART]))]),
    "identities": (
        roles({}, [{"names": ["allAuthenticatedUsers"]}]),
        [allowing(source(principals=["*"]))],
    ),
    "other-identities": (
        roles({}, [{"notNames": [CART]}]),
        [allowing(source(notPrincipals=[CART]))],
    ),
    "namespace": (
        roles({}, [{"properties": {"source.namespace": "shop"}}]),
        [allowing(source(namespaces=["shop"]))],
    ),
    "source": (
        roles({}, [{"ips": ["127.1.0.0/16"]}, {"properties": {"source.ip": "127.9.0.1"}}]),
        [allowing(source(ipBlocks=["127.1.0.0/16", "127.9.0.1"]))],
    ),
    "group": (
        roles({}, [{"group": "staff"}]),
        [allowing(when("request.auth.claims[groups]", "staff"))],
    ),
    "token": (
        roles({}, [{"properties": {"request.auth.principal": "two@test/*"}}]),
        [allowing(source(requestPrincipals=["two@test/*"]))],
    ),
    "audience": (
        roles({}, [{"properties": {"request.auth.audiences": "web"}}]),
        [allowing(when("request.auth.audiences", "web"))],
    ),
    "who-may-do-what": (
        roles({"methods": ["GET"]}, [{"user": CART, "properties": {"source.ip": "127.0.0.0/8"}}]),
        [
            allowing(
                {
                    **source(principals=[CART], ipBlocks=["127.0.0.0/8"]),
                    **operation(methods=["GET"]),
                }
            )
        ],
    ),
    "by-peer": (
        [
            *roles(
                {},
                [
                    {"properties": {"request.auth.principal": each}}
                    for each in (CART, "https://one.test/alice")
                ],
            ),
            old_policy(
                targets=TARGETS, peers=PERMISSIVE, origins=[{"jwt": JWT}], originIsOptional=True
            ),
        ],
        [allowing({**source(principals=[CART]), **operation(methods=["*"])})],
    ),
    "by-token": (
        [
            *roles(
                {},
                [
                    {"properties": {"request.auth.principal": "https://one.test/alice"}},
                    {"user": CART},
                ],
            ),
            old_policy(
                targets=TARGETS,
                peers=PERMISSIVE,
                origins=[{"jwt": JWT}],
                originIsOptional=True,
                principalBinding="USE_ORIGIN",
            ),
        ],
        [
            allowing(
                source(requestPrincipals=["https://one.test/alice"]),
                source(principals=[CART]),
            )
        ],
    ),
    "tokens-are-needed": (
        [old_policy(targets=TARGETS, peers=PERMISSIVE, origins=[{"jwt": JWT}])],
        [
            allowing(OF_ONE, operation(ports=[str(each) for each in TCP_PORTS])),
        ],
    ),
    "tokens-are-needed-elsewhere": (
        [
            old_policy(
                targets=TARGETS,
                peers=PERMISSIVE,
                origins=[{"jwt": {**JWT, "triggerRules": [{"excludedPaths": [{"prefix": "/a"}]}]}}],
            )
        ],
        [
            allowing(
                OF_ONE,
                operation(paths=["/a*"]),
                operation(ports=[str(each) for each in TCP_PORTS]),
            )
        ],
    ),
    "mutual-tls": (
        [old_policy(targets=TARGETS, peers=MUTUAL)],
        [peers("STRICT", **SELECTED)],
    ),
    "mutual-tls-or-not": (
        [old_policy(targets=TARGETS, peers=PERMISSIVE), mesh_policy(peers=MUTUAL)],
        [peers("PERMISSIVE", **SELECTED)],
    ),
    "no-mutual-tls": ([old_policy(targets=TARGETS)], [peers("DISABLE", **SELECTED)]),
    "mutual-tls-of-a-port": (
        [
            old_policy(
                targets=[
                    {"name": "web", "ports": [{"number": HTTP_PORTS[0]}, {"name": "tcp-9000"}]}
                ],
                peers=MUTUAL,
            )
        ],
        [
            peers(
                "PERMISSIVE",
                **SELECTED,
                portLevelMtls={
                    str(each): {"mode": "STRICT"} for each in (HTTP_PORTS[0], TCP_PORTS[0])
                },
            )
        ],
    ),
    "mutual-tls-of-the-namespace": ([old_policy("default", peers=MUTUAL)], [peers("STRICT")]),
    "mutual-tls-of-the-mesh": ([mesh_policy(peers=MUTUAL)], [peers("STRICT", "istio-system")]),
    "mutual-tls-and-roles": (
        [
            *roles({"methods": ["GET"]}, [{"user": CART}]),
            old_policy(targets=TARGETS, peers=MUTUAL),
        ],
        [
            allowing({**source(principals=[CART]), **operation(methods=["GET"])}),
            peers("STRICT", **SELECTED),
        ],
    ),
}
"""What old objects say, and how it is said now."""


def listeners() -> Iterator[tuple[str, Listener]]:
    for name, pair in PAIRS.items():
        for generation, objects in zip(("old", "new"), pair, strict=True):
            key = f"{name} {generation}"
            yield key, observed(inbound(Case(PLACE, objects, ())), key)


CALLS = calls(PLACE, chance_of("generations"), 40, 12)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Callers]:
    identities = {each.principal for each in CALLS} - {""}
    directory = tmp_path_factory.mktemp("envoy")
    async with running(directory, dict(listeners()), identities | {CART}) as (_, found):
        yield found


async def allows(callers: Callers, listener: str, call: Call) -> bool:
    """Whether a call gets through; without the handshake that is demanded none does."""
    try:
        return (await callers.decision(listener, call)).allowed
    except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
        return False


UNDECIDED = {
    "nothing-is-allowed": {False},
    "everything-is-allowed": {True},
    "other-namespaces": {True},
    "workload": {True},
    "mutual-tls-or-not": {True},
}
"""Verdicts of pairs that say the same to every call."""


@pytest.mark.parametrize("name", PAIRS)
async def test_both_generations_give_the_same_verdicts(callers: Callers, name: str) -> None:
    known = [*CALLS, *(replace(each, principal=CART) for each in CALLS if not each.principal)]
    found = {
        generation: [await allows(callers, f"{name} {generation}", each) for each in known]
        for generation in ("old", "new")
    }
    differing = [
        (each, old)
        for each, old, new in zip(known, found["old"], found["new"], strict=True)
        if old != new
    ]
    assert differing == []
    assert set(found["old"]) == UNDECIDED.get(name, {True, False})


GRPC_PORT = 8081
GRPC = f"""
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: web, namespace: shop}},
 spec: {{hosts: [web.shop.svc.cluster.local], resolution: STATIC, location: MESH_INTERNAL,
        workloadSelector: {{labels: {{app: web}}}},
        ports: [{{number: {GRPC_PORT}, name: grpc, protocol: GRPC}}]}}}}
"""
SAY, OTHER = "/test.Hello/Say", "/test.Hello/Other"


@asynccontextmanager
async def grpc_server() -> AsyncIterator[int]:
    async def hello(request: bytes, context: object) -> bytes:
        del context
        return b"hello " + request

    server = grpc.aio.server()
    methods = {
        each.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(hello) for each in (SAY, OTHER)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Hello", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def grpc_listener(name: str, objects: Sequence[Document]) -> Listener:
    """The listener of a port that is dialled without capture."""
    proxy = sidecar_proxy(
        NAMESPACE,
        ip="127.0.0.1",
        labels=LABELS,
        INTERCEPTION_MODE="NONE",
        APP_ENDPOINTS={str(GRPC_PORT): f"127.0.0.1:{GRPC_PORT}"},
    )
    view = world(GRPC, yaml.safe_dump_all(objects)).snapshot(1).view(proxy)
    found = view.named(LDS, f"127.0.0.1_{GRPC_PORT}")
    assert found is not None
    result = Listener.FromString(found.body)
    result.name, result.address.socket_address.port_value = name, 0
    return result


async def test_calls_of_grpc(tmp_path: Path) -> None:
    """A refused call ends with PERMISSION_DENIED, or UNAUTHENTICATED without the token it needs."""
    plain = peers("DISABLE", "istio-system")
    tokens = old_policy(targets=TARGETS, origins=[{"jwt": JWT}])
    sets = {
        "old": [plain, *roles({"paths": [SAY], **constraint("request.headers[x-role]", "admin")})],
        "new": [
            plain,
            allowing({**operation(paths=[SAY]), **when("request.headers[x-role]", "admin")}),
        ],
        "token": [plain, tokens],
    }
    listening = [grpc_listener(name, objects) for name, objects in sets.items()]
    admin, bearer = ("x-role", "admin"), ("authorization", f"Bearer {ONE.token()}")
    ok, denied = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED
    async with grpc_server() as port:
        behind = cluster(names.inbound_cluster(GRPC_PORT), port, http2=True)
        config = bootstrap(listening, [behind])
        async with envoy_server(config, tmp_path) as envoy:
            for name, method, metadata, status in (
                ("old", SAY, [admin], ok),
                ("old", OTHER, [admin], denied),
                ("old", SAY, [], denied),
                ("new", SAY, [admin], ok),
                ("new", OTHER, [admin], denied),
                ("new", SAY, [], denied),
                ("token", SAY, [bearer], ok),
                ("token", SAY, [], grpc.StatusCode.UNAUTHENTICATED),
            ):
                found = await status_of(envoy.ports[name], method, metadata)
                assert found == status, (name, method, metadata)
            assert complaints(envoy.log.read_text()) == []


async def status_of(port: int, method: str, metadata: Sequence[tuple[str, str]]) -> grpc.StatusCode:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            await channel.unary_unary(method)(b"", metadata=metadata, timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK
