"""Calls of etcd over asyncio: connections, fail-over between endpoints, tokens, deadlines, health.

One gRPC channel per endpoint; gRPC reconnects it with jittered backoff. A call goes to the
current endpoint as long as it is connected, else to the first that is.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import grpc
import grpc.aio
import structlog

from mast.common.backoff import Backoff
from mast.common.etcd.model import Compacted, EtcdConfig, EtcdError, Health, Rejected, Unavailable
from mast.common.etcd.stubs import rpc_pb2, rpc_pb2_grpc
from mast.common.latest import Latest

log = structlog.get_logger()

Request = TypeVar("Request")
Response = TypeVar("Response")
Metadata = tuple[tuple[str, str], ...]

PROBE_INTERVAL = timedelta(seconds=5)

# Keepalive pings find a dead peer in 15 s, also under an idle watch (etcd allows one every 5 s).
_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

# Codes after which it is unknown whether the call had an effect.
_UNCERTAIN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)
# A token expired, or was made before users or roles changed (etcd ErrAuthOldRevision).
_STALE_TOKEN = ("invalid auth token", "revision of auth store is old", "revision in header is old")
# What gRPC says of a call for which it had no connection.
_NOT_SENT = "failed to connect to all addresses"


class Endpoint:
    """One member of the cluster and the stubs of its services."""

    def __init__(self, address: str, channel: grpc.aio.Channel) -> None:
        self.address = address
        self.channel = channel
        self.kv = rpc_pb2_grpc.KVStub(channel)
        self.watch = rpc_pb2_grpc.WatchStub(channel)
        self.lease = rpc_pb2_grpc.LeaseStub(channel)
        self.auth = rpc_pb2_grpc.AuthStub(channel)

    def ready(self) -> bool:
        """Whether it is connected; if not, a connection is sought."""
        return self.channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    async def changed(self) -> None:
        """Return when it is connected or the state of the connection is another one."""
        state = self.channel.get_state()
        if state is not grpc.ChannelConnectivity.READY:
            await self.channel.wait_for_state_change(state)


class Transport:
    """Sends calls to whichever endpoint is connected, and knows whether etcd answers."""

    def __init__(self, config: EtcdConfig, now: Callable[[], datetime]) -> None:
        self.timeout = config.timeout
        self.health = Latest(Health(connected=False, since=None, detail="not connected yet"))
        self._config = config
        self._now = now
        self._token: str | None = None
        self._endpoints = _open(config)
        self._addresses = ",".join(config.endpoints)

    async def close(self) -> None:
        """Close every connection; calls under way are cancelled."""
        for endpoint in self._endpoints:
            await endpoint.channel.close()

    async def call(
        self,
        operation: str,
        method: Callable[[Endpoint], grpc.aio.UnaryUnaryMultiCallable[Request, Response]],
        request: Request,
        *,
        again: bool = False,
    ) -> Response:
        """The response to one call, within the timeout.

        A call that was not even sent is tried again until then; with ``again`` (it only reads)
        also one that an endpoint failed to answer. Raises Unavailable, Rejected or Compacted.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout.total_seconds()
        backoff = Backoff(timedelta(milliseconds=20), timedelta(milliseconds=500))
        refreshed = False
        while True:
            endpoint = await self.connected(operation, deadline)
            try:
                metadata = await self.metadata(endpoint, deadline)
                left = max(0.0, deadline - loop.time())
                share = left / len(self._endpoints) if again else left
                response = await method(endpoint)(request, timeout=share, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if not refreshed and self.forget_stale_token(error.details() or ""):
                    refreshed = True
                    continue
                failure = self.failed(operation, endpoint, error)
                pause = backoff.next(random.random()).total_seconds()  # noqa: S311
                repeat = again or (error.details() or "").startswith(_NOT_SENT)
                if not (repeat and isinstance(failure, Unavailable)):
                    raise failure from error
                if loop.time() + pause >= deadline:
                    raise failure from error
                await asyncio.sleep(pause)
            else:
                self.succeeded(endpoint)
                return response

    async def connected(self, operation: str, deadline: float | None = None) -> Endpoint:
        """An endpoint with a connection; Unavailable if none by ``deadline`` (loop time)."""
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + self.timeout.total_seconds()
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    ready = next((e for e in self._endpoints if e.ready()), None)
                    if ready is not None:
                        return ready
                    await _any(self._endpoints)
        except TimeoutError:
            detail = await self._reason()
        self._lost(detail)
        raise Unavailable(operation, self._addresses, detail)

    async def metadata(self, endpoint: Endpoint, deadline: float | None = None) -> Metadata:
        """Headers of a call: the token if a user is configured."""
        if self._config.user is None or self._config.password is None:
            return ()
        if self._token is None:
            request = rpc_pb2.AuthenticateRequest(
                name=self._config.user, password=self._config.password
            )
            loop = asyncio.get_running_loop()
            limit = self.timeout.total_seconds() if deadline is None else deadline - loop.time()
            self._token = (await endpoint.auth.Authenticate(request, timeout=max(0.0, limit))).token
        return (("token", self._token),)

    def forget_stale_token(self, detail: str) -> bool:
        """Whether ``detail`` says that the token is no longer good; then a new one is asked for."""
        if self._token is None or not any(text in detail for text in _STALE_TOKEN):
            return False
        self._token = None
        return True

    @contextmanager
    def streaming(self, operation: str, endpoint: Endpoint) -> Iterator[None]:
        """Translate what a stream to an endpoint raises: to Unavailable, Rejected, Compacted."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            self.forget_stale_token(error.details() or "")
            raise self.failed(operation, endpoint, error) from error
        except (TimeoutError, asyncio.InvalidStateError) as error:
            detail = "no answer" if isinstance(error, TimeoutError) else "stream ended"
            self.avoid(endpoint, f"{operation}: {detail}")
            raise Unavailable(operation, endpoint.address, detail) from error

    def failed(self, operation: str, endpoint: Endpoint, error: grpc.aio.AioRpcError) -> EtcdError:
        """Our error for one of gRPC's; an endpoint that did not answer moves to the end."""
        detail = error.details() or error.code().name
        if error.code() is grpc.StatusCode.OUT_OF_RANGE and "compacted" in detail:
            return Compacted(operation, detail)
        if error.code() in _UNCERTAIN:
            self.avoid(endpoint, detail)
            return Unavailable(operation, endpoint.address, f"{error.code().name}: {detail}")
        self.succeeded(endpoint)
        return Rejected(operation, endpoint.address, error.code().name, detail)

    def avoid(self, endpoint: Endpoint, detail: str) -> None:
        """Try other endpoints first from now on: this one failed."""
        if self._endpoints[0] is endpoint:
            self._endpoints.append(self._endpoints.pop(0))
        self._lost(detail)

    def succeeded(self, endpoint: Endpoint) -> None:
        """Note that an endpoint answered."""
        if not self.health.value.connected:
            self.health.publish(Health(connected=True, since=self._now(), detail=endpoint.address))
            log.info("etcd.connected", endpoint=endpoint.address)

    def _lost(self, detail: str) -> None:
        before = self.health.value
        if before.connected or before.since is None:
            self.health.publish(Health(connected=False, since=self._now(), detail=detail))
            log.warning("etcd.unavailable", endpoints=self._addresses, detail=detail)
        else:
            self.health.publish(replace(before, detail=detail))

    async def _reason(self) -> str:
        """Why there is no connection: what a call that does not wait for one ends with."""
        endpoint = self._endpoints[0]
        try:
            await endpoint.kv.Range(rpc_pb2.RangeRequest(key=b"/", limit=1), timeout=0.2)
        except grpc.aio.AioRpcError as error:
            return error.details() or error.code().name
        return "connected too late"

    async def probe(self) -> None:
        """Ask etcd for a key, again and again, so that ``health`` is fresh without other calls."""
        request = rpc_pb2.RangeRequest(key=f"{self._config.root}/".encode(), keys_only=True)
        backoff = Backoff(timedelta(milliseconds=200), PROBE_INTERVAL)
        while True:
            try:
                await self.call("probe", lambda e: e.kv.Range, request)
            except EtcdError:
                pause = backoff.next(random.random())  # noqa: S311
            else:
                backoff.reset()
                pause = PROBE_INTERVAL
            await asyncio.sleep(pause.total_seconds())


def _open(config: EtcdConfig) -> list[Endpoint]:
    if config.ca is None and config.cert is None:
        channels = [grpc.aio.insecure_channel(a, options=_OPTIONS) for a in config.endpoints]
    else:
        credentials = grpc.ssl_channel_credentials(
            *(
                None if path is None else path.read_bytes()
                for path in (config.ca, config.key, config.cert)
            )
        )
        channels = [
            grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
            for address in config.endpoints
        ]
    return [Endpoint(a, c) for a, c in zip(config.endpoints, channels, strict=True)]


async def _any(endpoints: Sequence[Endpoint]) -> None:
    """Return when the connection of one of them has changed its state."""
    changed = asyncio.Event()

    async def wait(endpoint: Endpoint) -> None:
        await endpoint.changed()
        changed.set()

    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(wait(e), name=f"etcd {e.address}") for e in endpoints]
        await changed.wait()
        for task in waiting:
            task.cancel()
