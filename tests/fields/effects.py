"""Which fields a golden case shows: without them its proxy would get something else."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from google.protobuf.message import Message

from istio.mcp.v1alpha1.resource_pb2 import Resource
from mast.common import keys, kinds
from mast.common.kinds import Kind
from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.resources import CDS, LDS, NDS
from tests.fields.paths import paths, set_paths, without
from tests.support.golden_view import resources_of
from tests.support.mesh_yaml import Put, changes
from tests.unit.pilot.test_golden import Case

REFUSED = frozenset({"istio.authentication.v1alpha1.PeerAuthenticationMethod.jwt"})
"""Refused fields whose message counts where it is not refused."""


@dataclass(frozen=True, order=True)
class Field:
    """A field of a kind."""

    group: str
    kind: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.path}"


@cache
def fields_of(kind: Kind) -> Mapping[str, Field]:
    """All fields of a kind by path, in the order of its .proto file."""
    listed = paths(kind.message.DESCRIPTOR, REFUSED)
    return {each: Field(kind.group, kind.name, each) for each in listed}


def effects(case: Case, known: Callable[[Field], bool] = lambda _: False) -> Iterator[Field]:
    """The fields that the case needs to look as it does; those that are known are not tried."""
    puts = list(changes(*case.mesh))
    proxy = parse(case.node)
    complete = _seen(puts, proxy)
    for at, put in enumerate(puts):
        found = _configured(put)
        if found is None:
            continue
        kind, resource, spec = found
        for field in _set_fields(kind, spec):
            if known(field):
                continue
            less = kind.message.FromString(spec.SerializeToString())
            without(less, field.path)
            resource.body.Pack(less)
            changed = [*puts[:at], Put(put.key, resource.SerializeToString()), *puts[at + 1 :]]
            if _seen(changed, proxy) != complete:
                yield field


def _set_fields(kind: Kind, spec: Message) -> Iterator[Field]:
    listed = fields_of(kind)
    found = set()
    for path in set_paths(spec):
        while path and path not in listed:
            path = path.rpartition(".")[0]
        if path:
            found.add(listed[path])
    yield from sorted(found)


def _configured(put: Put) -> tuple[Kind, Resource, Message] | None:
    """Kind, envelope and specification of a stored configuration object."""
    if put.value is None or not put.key.startswith(keys.CONFIG):
        return None
    kind = kinds.BY_COLLECTION[keys.parse_config_key(put.key).collection]
    resource = Resource.FromString(put.value)
    spec = kind.message()
    resource.body.Unpack(spec)
    return kind, resource, spec


def _seen(puts: list[Put], proxy: Proxy) -> object:
    """Everything the proxy gets, or why a value is kept out."""
    world = World()
    rejections = world.apply(puts)
    view = world.snapshot(1).view(proxy)
    return (
        rejections,
        resources_of(view),
        view.collection(NDS).version,
        view.collection(CDS),
        view.collection(LDS),
    )
