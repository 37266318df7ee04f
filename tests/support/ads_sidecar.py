"""A real Envoy of a client, on a Pilot without agent, that needs neither capture nor root."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.ads_server import Load, bootstrap, load
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server

WHO = "sidecar~127.0.0.1~client-1.default~default.svc.cluster.local"
LOST_STREAM = "gRPC config stream to xds-grpc closed"


@dataclass(frozen=True)
class Client:
    """A real Envoy without capture: `url` leads through it to the service on port 9080."""

    envoy: EnvoyServer
    url: str

    def load(self) -> AbstractAsyncContextManager[Load]:
        """Requests as fast as they are answered; none may fail."""
        return load(self.url, host="web.default.svc.cluster.local")


@asynccontextmanager
async def sidecar(
    port: int, directory: Path, *, alone: bool = False, who: str = WHO
) -> AsyncIterator[Client]:
    """With Envoy's log free of warnings, but for lost streams if it may be `alone` for a while."""
    loopback = f"127.{random.randint(3, 250)}.{random.randint(1, 250)}"  # noqa: S311
    config = bootstrap(
        port,
        delta=True,
        metadata={
            "NAMESPACE": "default",
            "LABELS": {"app": "client"},
            "INTERCEPTION_MODE": "NONE",
            "INSTANCE_IPS": f"{loopback}.1",
            "OUTBOUND_BIND": f"{loopback}.2",
            "HTTP_PROXY_PORT": "15080",
        },
    )
    config.node.id = who
    async with envoy_server(config, directory) as envoy:
        yield Client(envoy, f"http://{loopback}.2:9080/")
        for name in ("cluster_manager.cds", "listener_manager.lds"):
            assert await envoy.stat(f"{name}.update_rejected") == 0
        told = complaints(envoy.log.read_text())
        assert [each for each in told if not (alone and LOST_STREAM in each)] == []
