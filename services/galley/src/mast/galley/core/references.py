"""Secrets and ConfigMaps that configuration refers to: no other ones enter the mesh.

Section numbers are those of pilot.md: I5 for names of credentials, C for their schemes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

from mast.common.keys import parse_config_key
from mast.common.kinds import BY_COLLECTION, BY_GROUP_KIND, Kind

SECRET: Final = BY_GROUP_KIND["", "Secret"]
CONFIG_MAP: Final = BY_GROUP_KIND["", "ConfigMap"]

_ROOTS_BESIDE: Final = "-cacert"
_SCHEMES: Final = {
    "kubernetes": SECRET,
    "kubernetes-gateway": SECRET,
    "configmap": CONFIG_MAP,
}
_NAMES: Final = frozenset(
    {"credential_name", "credential_names", "ca_cert_credential_name", "secret_name"}
)
_OBJECTS: Final = frozenset({"certificate_refs", "ca_certificate_refs"})
_ENVOY: Final = BY_GROUP_KIND["networking.istio.io", "EnvoyFilter"]
_KINDS: Final = {"": SECRET, "Secret": SECRET, "ConfigMap": CONFIG_MAP}


class Reference(NamedTuple):
    """A Secret or ConfigMap that is meant; one without a namespace is that of any namespace:
    which one, the proxy decides that asks for it."""

    kind: Kind
    namespace: str
    name: str


@cache
def may_refer(kind: Kind) -> bool:
    """Whether objects of a kind can refer to credentials at all."""
    return kind is _ENVOY or _has_fields(kind.message.DESCRIPTOR, set())


def references(kind: Kind, namespace: str, spec: Message) -> frozenset[Reference]:
    """What an object of a namespace refers to; of a Secret also the one with its roots."""
    if kind is _ENVOY:
        found = set(_named_in_values(spec, namespace))
    else:
        found = set(_in_fields(spec, namespace))
    beside = {
        each._replace(name=each.name + _ROOTS_BESIDE) for each in found if each.kind is SECRET
    }
    return frozenset(found | beside)


class References:
    """Who refers to what, and which keys of the store are meant by it."""

    def __init__(self) -> None:
        self._by_referrer: dict[str, frozenset[Reference]] = {}
        self._counts: Counter[Reference] = Counter()
        self._offered: dict[tuple[Kind, str], set[str]] = defaultdict(set)

    def put(self, referrer: str, found: frozenset[Reference]) -> set[str]:
        """Take what an object refers to now; the offered keys that this is about."""
        before = self._by_referrer.pop(referrer, frozenset())
        if found:
            self._by_referrer[referrer] = found
        concerned: set[str] = set()
        for each in found - before:
            self._counts[each] += 1
            concerned |= self._keys(each) if self._counts[each] == 1 else set()
        for each in before - found:
            self._counts[each] -= 1
            if not self._counts[each]:
                del self._counts[each]
                concerned |= self._keys(each)
        return concerned

    def forget(self) -> None:
        """Nobody is known to refer to anything; what is offered stays."""
        self._by_referrer.clear()
        self._counts.clear()

    def offer(self, keys: Iterable[str]) -> None:
        """These keys of credentials can be had."""
        for key, kind, _, name in _credentials(keys):
            self._offered[kind, name].add(key)

    def withdraw(self, keys: Iterable[str]) -> None:
        """These keys are gone."""
        for key, kind, _, name in _credentials(keys):
            self._offered[kind, name].discard(key)

    def wants(self, key: str) -> bool:
        """Whether a key is none of a credential, or of one that something refers to."""
        return all(
            Reference(kind, namespace, name) in self._counts
            or Reference(kind, "", name) in self._counts
            for _, kind, namespace, name in _credentials([key])
        )

    @property
    def config_maps(self) -> frozenset[tuple[str, str]]:
        """Namespace and name of every ConfigMap that something refers to."""
        return frozenset((r.namespace, r.name) for r in self._counts if r.kind is CONFIG_MAP)

    def _keys(self, meant: Reference) -> set[str]:
        offered = self._offered.get((meant.kind, meant.name), set())
        return {key for key in offered if meant.namespace in {"", parse_config_key(key).namespace}}


def _credentials(keys: Iterable[str]) -> Iterator[tuple[str, Kind, str, str]]:
    for text in keys:
        key = parse_config_key(text)
        kind = BY_COLLECTION[key.collection]
        if kind is SECRET or kind is CONFIG_MAP:
            yield text, kind, key.namespace, key.name


def _has_fields(message: Any, seen: set[str]) -> bool:
    if message.full_name in seen:
        return False
    seen.add(message.full_name)
    return any(
        field.name in _NAMES | _OBJECTS
        or (field.message_type is not None and _has_fields(field.message_type, seen))
        for field in message.fields
    )


def _in_fields(message: Message, namespace: str) -> Iterator[Reference]:
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.name in _NAMES:
            yield from (each for text in values for each in _named(text, namespace))
        elif field.name in _OBJECTS:
            yield from (each for ref in values for each in _meant(ref, namespace))
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            yield from (each for inner in values for each in _in_fields(inner, namespace))


def _named(text: str, namespace: str) -> Iterator[Reference]:
    """A name of a credential: with a scheme or without, with a namespace or without."""
    scheme, separator, rest = text.partition("://")
    kind = _SCHEMES.get(scheme) if separator else SECRET
    owner, _, name = (rest if separator else text).rpartition("/")
    if kind is CONFIG_MAP:
        yield Reference(kind, owner or namespace, name)
    elif kind is not None:
        yield Reference(kind, owner, name)


def _meant(ref: Any, namespace: str) -> Iterator[Reference]:
    """A reference of Gateway API, which may leave out kind and namespace."""
    kind = _KINDS.get(ref.kind)
    if kind is not None and not ref.group:
        yield Reference(kind, getattr(ref, "namespace", "") or namespace, ref.name)


def _named_in_values(message: Message, namespace: str) -> Iterator[Reference]:
    """Names with a scheme, wherever they stand in what is given to Envoy."""
    for field, value in message.ListFields():
        if field.message_type is None:
            texts = value if field.is_repeated else [value]
            for text in texts if field.type == field.TYPE_STRING else ():
                if "://" in text:
                    yield from _named(text.removesuffix(_ROOTS_BESIDE), namespace)
        elif field.message_type.GetOptions().map_entry:
            for inner in value.values() if hasattr(value, "values") else ():
                if isinstance(inner, Message):
                    yield from _named_in_values(inner, namespace)
        else:
            for inner in value if field.is_repeated else [value]:
                yield from _named_in_values(inner, namespace)
