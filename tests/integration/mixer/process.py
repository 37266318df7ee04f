"""Mixer as a process on a real etcd, and its clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc.aio

from istio.mixer.v1 import mixer_pb2, mixer_pb2_grpc
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.values import Attributes
from mast.mixer.core.wire import encode
from tests.support.service_process import ServiceProcess, forked_service


@asynccontextmanager
async def client(running: ServiceProcess) -> AsyncIterator[mixer_pb2_grpc.MixerStub]:
    """A client of the plaintext port."""
    async with grpc.aio.insecure_channel(await running.address("grpc")) as channel:
        yield mixer_pb2_grpc.MixerStub(channel)


def check_request(
    attributes: Attributes, known: int = len(WORDS), id: str = "", **quotas: int
) -> mixer_pb2.CheckRequest:
    """A check as a proxy that knows so many words sends it; quotas by name and amount."""
    asked = {name: mixer_pb2.CheckRequest.QuotaParams(amount=each) for name, each in quotas.items()}
    return mixer_pb2.CheckRequest(
        attributes=encode(attributes, known),
        global_word_count=known,
        deduplication_id=id,
        quotas=asked,
    )


@asynccontextmanager
async def mixer(etcd: str, flags: Sequence[object] = ()) -> AsyncIterator[ServiceProcess]:
    """A running Mixer."""
    listeners = ("listen", "secure-listen", "monitoring-listen", "prometheus-listen")
    async with forked_service(
        "mixer",
        *(f"--{each}=127.0.0.1:0" for each in listeners),
        *("--etcd-endpoints", etcd, "--config-gather", "20ms"),
        *flags,
    ) as running:
        yield running
