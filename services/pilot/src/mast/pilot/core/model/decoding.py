"""Stored bytes as typed objects; what cannot be understood is said, not guessed."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from istio.mcp.v1alpha1.resource_pb2 import Resource
from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.common import keys, kinds
from mast.common.sealing import DamagedSeal, Sealed, WrongSealingKey, unseal
from mast.pilot.core.model.legacy_routes import modern
from mast.pilot.core.model.model import Config, ConfigMeta
from mast.pilot.core.model.service_entries import nanoseconds
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys
from mastapi.kubernetes.v1.credentials_pb2 import Secret
from mastapi.registry.v1 import registry_pb2 as registry
from mastapi.trust.v1.trust_pb2 import TrustBundle

_MESSAGES: Final[Mapping[str, type[Message]]] = {
    keys.REGISTRY_SERVICES: registry.Service,
    keys.REGISTRY_WORKLOADS: registry.Workload,
    keys.REGISTRY_ENDPOINTS: registry.EndpointShard,
    keys.TRUST: TrustBundle,
    keys.JWKS: PublishedKeys,
}


class Undecodable(ValueError):
    """A stored value is not what its key promises; the message says why."""


def config(key: str, value: bytes, sealing_key: bytes | None = None) -> Config[Any]:
    """The configuration object under a `config/` or `secrets/` key; raises `Undecodable`.

    Its visibility is still open: the caller knows the defaults of the mesh. Secrets are opened
    with the sealing key.
    """
    try:
        where = keys.parse_config_key(key)
    except ValueError as error:
        raise Undecodable(str(error)) from error
    kind = kinds.BY_COLLECTION.get(where.collection)
    if kind is None:
        raise Undecodable(f"collection {where.collection!r} is unknown")
    resource = Resource()
    try:
        resource.ParseFromString(value)
        spec = kinds.unpack(kind, resource.body)
        if kind.sealed is not None:
            spec = _opened(key, spec, sealing_key)
    except (DecodeError, ValueError, WrongSealingKey, DamagedSeal) as error:
        raise Undecodable(str(error)) from error
    meta = ConfigMeta(
        collection=where.collection,
        group=kind.group,
        api_version=kind.storage_version,
        kind=kind.name,
        namespace=where.namespace,
        name=where.name,
        version=resource.metadata.version,
        created=nanoseconds(resource.metadata.create_time),
        labels=dict(resource.metadata.labels),
        annotations=dict(resource.metadata.annotations),
    )
    return Config(meta, modern(spec) if isinstance(spec, VirtualService) else spec)


def _opened(key: str, sealed: Any, sealing_key: bytes | None) -> Secret:
    if sealing_key is None:
        raise ValueError(f"{key} is sealed, and Pilot runs without --secrets-key-file")
    record = Sealed(sealed.key_id, sealed.nonce, sealed.ciphertext)
    return Secret.FromString(unseal(record, sealing_key, key))


def decoded(key: str, value: bytes, sealing_key: bytes | None = None) -> Config[Any] | Message:
    """The object under a key of the mesh's state; raises `Undecodable`.

    A `Config` for `config/` and `secrets/`, else the message of the prefix.
    """
    if key.startswith((keys.CONFIG, keys.SECRETS)):
        return config(key, value, sealing_key)
    for prefix, kind in _MESSAGES.items():
        if key.startswith(prefix):
            message = kind()
            try:
                message.ParseFromString(value)
            except DecodeError as error:
                raise Undecodable(f"{kind.DESCRIPTOR.full_name}: {error}") from error
            return message
    raise Undecodable(f"no kind of object is stored under {key!r}")
