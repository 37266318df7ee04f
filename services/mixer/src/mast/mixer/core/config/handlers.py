"""Handlers resolved: adapter, params over defaults, signature to reuse them by (D8 to D10)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from istio.policy.v1beta1 import cfg_pb2
from mast.mixer.core.adapter import Adapter, Handler, HandlerConfig
from mast.mixer.core.config.entry import Entry, Problem
from mast.mixer.core.config.instances import CompiledInstance
from mast.mixer.core.config.names import candidates
from mast.mixer.core.config.resources import ADAPTER
from mast.mixer.core.dynamic import DynamicAdapter


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedHandler:
    """A handler whose adapter exists; ``shown`` is how clients see it (A25)."""

    fqn: str
    shown: str
    adapter: Adapter
    params: Message
    remote: bytes = b""
    """Of an adapter out of process: what it is and where."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a built handler depends on: with an equal one it is kept with its state (D10)."""

    adapter: str
    params: bytes
    remote: bytes
    instances: tuple[tuple[str, str, str], ...]


Remote: TypeAlias = Callable[
    [DynamicAdapter, cfg_pb2.Connection], Callable[[HandlerConfig], Handler]
]
"""Makes the builder of handlers for an adapter at a place."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """The adapters that handlers may name: compiled ones, and those that objects describe."""

    compiled: Mapping[str, Adapter]
    dynamic: Mapping[str, DynamicAdapter] = field(default_factory=dict)
    remote: Remote | None = None


@dataclass(frozen=True, slots=True, eq=False)
class UsedHandler:
    """A handler that some rule uses, with the instances directed to it (D9)."""

    handler: ResolvedHandler
    config: HandlerConfig
    signature: Signature


def resolve_handler(entry: Entry, known: Known) -> tuple[ResolvedHandler | None, list[Problem]]:
    """A handler of kind ``handler`` or of a legacy kind, and what is wrong with it.

    Params that do not decode are a problem, but the handler lives with its defaults (D8).
    """
    spec = entry.spec
    if isinstance(spec, cfg_pb2.Handler) and spec.adapter and not spec.compiled_adapter:
        return _resolve_remote(entry, spec, known)
    if isinstance(entry.spec, Struct):
        name, shown, params = entry.kind, entry.fqn, entry.spec
    else:
        assert isinstance(spec, cfg_pb2.Handler)  # noqa: S101  the store decodes by kind
        name = spec.compiled_adapter
        shown, params = f"{entry.name}.{entry.namespace}", spec.params
    adapter = known.compiled.get(name)
    if adapter is None:
        return None, [Problem(entry.fqn, "", f"adapter '{name}' not found")]
    problems: list[Problem] = []
    merged = type(adapter.defaults)()
    merged.CopyFrom(adapter.defaults)
    try:
        ParseDict(MessageToDict(params), merged)
    except (ParseError, ValueError, TypeError) as error:
        merged.CopyFrom(adapter.defaults)
        text = f"params do not fit adapter '{name}', defaults are used: {error}"
        problems.append(Problem(entry.fqn, "params", text))
    return ResolvedHandler(entry.fqn, shown, adapter, merged), problems


def _resolve_remote(
    entry: Entry, spec: cfg_pb2.Handler, known: Known
) -> tuple[ResolvedHandler | None, list[Problem]]:
    """A handler of an adapter out of process; its FQN is how clients see it (A25, G10)."""
    names = candidates(spec.adapter, ADAPTER, entry.namespace)
    described = next((known.dynamic[each] for each in names if each in known.dynamic), None)
    if described is None or known.remote is None:
        return None, [Problem(entry.fqn, "", f"adapter '{spec.adapter}' not found")]
    if not spec.connection.address:
        return None, [Problem(entry.fqn, "connection.address", "must not be empty")]
    params = (described.params or Empty)()
    try:
        ParseDict(MessageToDict(spec.params), params)
    except (ParseError, ValueError, TypeError) as error:
        text = f"params do not fit adapter '{described.fqn}': {error}"
        return None, [Problem(entry.fqn, "params", text)]
    adapter = Adapter(
        name=described.fqn,
        templates=frozenset(described.templates),
        defaults=params,
        build=known.remote(described, spec.connection),
    )
    where = spec.connection.SerializeToString(deterministic=True) + described.digest.encode()
    return ResolvedHandler(entry.fqn, entry.fqn, adapter, params, where), []


def used_handlers(
    uses: Mapping[str, tuple[ResolvedHandler, Sequence[CompiledInstance]]],
) -> tuple[dict[str, UsedHandler], list[Problem]]:
    """The handlers that can be built, by FQN, and why the others cannot (D9)."""
    good: dict[str, UsedHandler] = {}
    problems: list[Problem] = []
    for fqn, (handler, instances) in sorted(uses.items()):
        directed = sorted({each.fqn: each for each in instances}.items())
        config = HandlerConfig(
            handler.shown,
            handler.adapter.name,
            handler.params,
            tuple(instance.type for _, instance in directed),
        )
        complaints = handler.adapter.validate(config)
        problems += [Problem(fqn, "params", text) for text in complaints]
        if not complaints:
            signature = _signature(config, handler.remote, directed)
            good[fqn] = UsedHandler(handler, config, signature)
    return good, problems


def _signature(
    config: HandlerConfig, remote: bytes, directed: Iterable[tuple[str, CompiledInstance]]
) -> Signature:
    return Signature(
        config.adapter,
        config.params.SerializeToString(deterministic=True),
        remote,
        tuple((name, *instance.source) for name, instance in directed),
    )
