"""Handlers resolved: adapter, params over defaults, signature to reuse them by (D8 to D10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from istio.policy.v1beta1 import cfg_pb2
from mast.mixer.core.adapter import Adapter, HandlerConfig
from mast.mixer.core.config.entry import Entry, Problem
from mast.mixer.core.config.instances import CompiledInstance


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedHandler:
    """A handler whose adapter exists; ``shown`` is how clients see it (A25)."""

    fqn: str
    shown: str
    adapter: Adapter
    params: Message


@dataclass(frozen=True, slots=True)
class Signature:
    """What a built handler depends on: with an equal one it is kept with its state (D10)."""

    adapter: str
    params: bytes
    instances: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class UsedHandler:
    """A handler that some rule uses, with the instances directed to it (D9)."""

    handler: ResolvedHandler
    config: HandlerConfig
    signature: Signature


def resolve_handler(
    entry: Entry, adapters: Mapping[str, Adapter]
) -> tuple[ResolvedHandler | None, list[Problem]]:
    """A handler of kind ``handler`` or of a legacy kind, and what is wrong with it.

    Params that do not decode are a problem, but the handler lives with its defaults (D8).
    """
    if isinstance(entry.spec, Struct):
        name, shown, params = entry.kind, entry.fqn, entry.spec
    else:
        spec = entry.spec
        assert isinstance(spec, cfg_pb2.Handler)  # noqa: S101  the store decodes by kind
        name = spec.compiled_adapter or spec.adapter
        shown, params = f"{entry.name}.{entry.namespace}", spec.params
    adapter = adapters.get(name)
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
            good[fqn] = UsedHandler(handler, config, _signature(config, directed))
    return good, problems


def _signature(
    config: HandlerConfig, directed: Iterable[tuple[str, CompiledInstance]]
) -> Signature:
    return Signature(
        config.adapter,
        config.params.SerializeToString(deterministic=True),
        tuple((name, *instance.source) for name, instance in directed),
    )
