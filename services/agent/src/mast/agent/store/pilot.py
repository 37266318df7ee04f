"""The way to Pilot: one channel per stream, dialled anew with what the files say then (B4)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import grpc
import grpc.aio
from cryptography import x509

from mast.common.identity.ca_client import encrypted, server_name

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
DIAL = timedelta(seconds=5)

Call = grpc.aio.StreamStreamCall[bytes, bytes]


class Unreachable(Exception):
    """Pilot did not accept a connection in time; says where it was looked for."""


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """Where Pilot is and how the agent shows who it is.

    Roots (b"" for the system's), client certificate (chain, key), token and metadata are asked
    for anew for each stream. Differs from Istio: the token goes along only while there is no
    valid certificate; a server that took the certificate has no business with the token.
    """

    address: str
    roots: Callable[[], bytes]
    client_cert: Callable[[], tuple[bytes, bytes] | None]
    token: Callable[[], str | None]
    now: Callable[[], datetime]
    plaintext: bool = False
    metadata: Sequence[tuple[str, str]] = ()
    tls_server_name: str = ""

    @asynccontextmanager
    async def stream(self, method: str) -> AsyncIterator[Call]:
        """A new stream of raw messages; Unreachable if Pilot cannot be dialled within 5 s."""
        pair = self._presentable()
        try:
            dialled = self._channel(pair)
        except OSError as error:
            raise Unreachable(f"roots for {self.address}: {error}") from error
        async with dialled as channel:
            open_stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
                f"/{SERVICE}/{method}"
            )
            call: Call = open_stream(metadata=self._metadata(pair))
            try:
                async with asyncio.timeout(DIAL.total_seconds()):
                    await call.wait_for_connection()
            except TimeoutError as error:
                raise Unreachable(f"no connection to {self.address} within 5 s") from error
            except grpc.aio.AioRpcError as error:
                raise Unreachable(f"{error.code().name}: {error.details()}") from error
            try:
                yield call
            finally:
                call.cancel()

    def _metadata(self, pair: tuple[bytes, bytes] | None) -> grpc.aio.Metadata:
        metadata = grpc.aio.Metadata(*self.metadata)
        if pair is None and (token := self.token()):
            metadata.add("authorization", f"Bearer {token}")
        return metadata

    def _presentable(self) -> tuple[bytes, bytes] | None:
        pair = self.client_cert()
        if pair is None:
            return None
        expires = x509.load_pem_x509_certificate(pair[0]).not_valid_after_utc
        return pair if self.now() < expires else None

    def _channel(self, pair: tuple[bytes, bytes] | None) -> grpc.aio.Channel:
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 500),
        ]
        if self.plaintext or not encrypted(self.address):
            return grpc.aio.insecure_channel(self.address, options=options)
        chain, key = pair or (None, None)
        credentials = grpc.ssl_channel_credentials(self.roots() or None, key, chain)
        name = server_name(self.address, self.tls_server_name)
        options.append(("grpc.ssl_target_name_override", name))
        return grpc.aio.secure_channel(self.address, credentials, options=options)
