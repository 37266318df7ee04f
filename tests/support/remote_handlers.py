"""Handlers of adapters out of process, as Mixer builds them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from istio.mixer.adapter.model.v1beta1 import extensions_pb2
from istio.policy.v1beta1 import cfg_pb2
from mast.common.expressions.types import ValueType
from mast.mixer.adapters.fetching import token
from mast.mixer.adapters.remote.builder import RemoteAdapters
from mast.mixer.core.adapter import (
    HandlerConfig,
    Instance,
    InstanceType,
)
from mast.mixer.core.dynamic import DynamicAdapter, dynamic_template, params_message
from tests.support.remote_adapter import (
    Answer,
    descriptor,
    params_file,
    serving,
    template_file,
)

NAME = "i.instance.shop"
CHECK, REPORT = extensions_pb2.TEMPLATE_VARIETY_CHECK, extensions_pb2.TEMPLATE_VARIETY_REPORT
GENERATOR = extensions_pb2.TEMPLATE_VARIETY_ATTRIBUTE_GENERATOR
WITH_OUTPUT = extensions_pb2.TEMPLATE_VARIETY_CHECK_WITH_OUTPUT
MODEL = "istio.mixer.adapter.model.v1beta1."


def adapter(variety: int, answer: str) -> DynamicAdapter:
    text = descriptor(template_file("greeter", variety, answer))
    template = dynamic_template("t.template.ns", text)
    params = params_message(descriptor(params_file()))
    return DynamicAdapter("a.adapter.ns", {"t.template.ns": template}, params)


def instance(who: str = "ann", **fields: Any) -> Instance:
    return Instance(NAME, "t.template.ns", {"who": who, "size": 5, "any": "http://x/", **fields})


@asynccontextmanager
async def handler(
    described: DynamicAdapter, connection: cfg_pb2.Connection, *, verify_identity: bool = True
) -> AsyncIterator[Any]:
    ids = itertools.count()
    clock = asyncio.get_running_loop().time
    remote = RemoteAdapters(token, clock, lambda: f"id{next(ids)}", verify_identity=verify_identity)
    assert described.params is not None
    types = (InstanceType(NAME, "t.template.ns", {"any": ValueType.URI}),)
    config = HandlerConfig("h", described.fqn, described.params(mood="good"), types)
    built: Any = remote(described, connection)(config)
    try:
        yield built
    finally:
        await built.close()


@asynccontextmanager
async def called(described: DynamicAdapter, answer: Answer) -> AsyncIterator[Any]:
    """A handler whose adapter answers so."""
    (service,) = described.services.values()
    async with (
        serving({service: answer}) as address,
        handler(described, cfg_pb2.Connection(address=address)) as built,
    ):
        yield built
