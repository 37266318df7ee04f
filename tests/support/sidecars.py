"""Sidecars in real Envoys without a control plane, and applications of several protocols behind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

from mast.pilot.core.model.proxy import Proxy
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.golden_view import resources_of, static
from tests.support.mesh_yaml import world
from tests.support.secret_files import cluster_with_secret_files, with_secret_files

ONLY_INBOUND = """
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default},
 spec: {egress: [{hosts: ["~/*"]}]}}
"""


@asynccontextmanager
async def sidecar(
    directory: Path,
    proxy: Proxy,
    *texts: str,
    secrets: Callable[[str], Path] | None = None,
) -> AsyncIterator[EnvoyServer]:
    """An Envoy with all that a proxy gets, every listener on a port of its own choice.

    `secrets` tells where the files of a cluster's certificate and roots are, by the cluster's name
    (see `secret_files`); those of listeners, and of all if it is not given, are in `directory`.
    """
    config = static(resources_of(world(*texts).snapshot(1).view(proxy)))
    for listener in config.static_resources.listeners:
        listener.CopyFrom(with_secret_files(listener, directory))
        listener.address.socket_address.port_value = 0
    for cluster in config.static_resources.clusters:
        where = directory if secrets is None else secrets(cluster.name)
        cluster.CopyFrom(cluster_with_secret_files(cluster, where))
    async with envoy_server(config, directory) as envoy:
        yield envoy
        assert complaints(envoy.log.read_text()) == []


async def echo_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers all bytes with the same, after a word that says that it was here."""
    while data := await reader.read(1000):
        writer.write(b"echo " + data)
    writer.close()


async def echo_web_socket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Agrees to change to WebSocket, tells who called, and answers bytes as `echo_bytes` does."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = (line.partition(": ") for line in head.rstrip().split("\r\n")[1:])
    fields = {name.lower(): value for name, _, value in lines}
    assert fields["upgrade"] == "websocket"
    caller = fields.get("x-forwarded-client-cert", "")
    answer = ["HTTP/1.1 101 Switching Protocols", "upgrade: websocket", "connection: upgrade"]
    writer.write("\r\n".join([*answer, f"x-caller: {caller}", "", ""]).encode())
    await echo_bytes(reader, writer)


@asynccontextmanager
async def grpc_server() -> AsyncIterator[int]:
    """Serves `/test.Hello/Say`, which answers with the name of the caller's certificate."""

    async def hello(request: bytes, context: object) -> bytes:
        metadata = dict(context.invocation_metadata())  # type: ignore[attr-defined]
        return b"hello " + request + b" " + metadata.get("x-forwarded-client-cert", "").encode()

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(
        "test.Hello", {"Say": grpc.unary_unary_rpc_method_handler(hello)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)
