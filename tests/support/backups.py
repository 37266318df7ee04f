"""Backups for tests, made of what services would have stored."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from mast.citadel.core.authority import Authority, self_signed
from mast.citadel.core.records import record
from mast.citadel.core.sealing import seal
from mast.citadel.store.authorities import AUTHORITY_KEY
from mast.cli.backup.archive import Backup, Header, Item, read, writing
from mast.cli.backup.contents import ALWAYS
from mast.common.identity.ca_client import new_private_key
from mast.common.keys import jwks_key
from mast.common.kinds import BY_COLLECTION
from mast.galley.core.metadata import Metadata
from mast.galley.core.objects import ConfigObject
from mast.galley.core.resources import resource
from mast.galley.core.sealed import sealed
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys
from mastapi.kubernetes.v1.credentials_pb2 import Secret

_LIFE = timedelta(days=3650)
SERVICE_ENTRIES = "istio/networking/v1alpha3/serviceentries"
POLICIES = "istio/security/v1beta1/authorizationpolicies"
SECRETS = "k8s/core/v1/secrets"
HEADER = Header(
    cluster="c1", revision=7, time="2026-11-23T08:00:00+00:00", mastctl="1", prefixes=ALWAYS
)


def config(name: str, collection: str = SERVICE_ENTRIES, revision: int = 5) -> Item:
    """An object without a specification."""
    kind = BY_COLLECTION[collection]
    obj = ConfigObject(kind, Metadata(name=name, namespace="shop"), kind.stored())
    return Item(obj.key, resource(obj, 1, None).SerializeToString(), revision)


def secret(key: bytes, content: bytes = b"s3cret") -> Item:
    """A Secret, sealed."""
    kind = BY_COLLECTION[SECRETS]
    spec = Secret(type="Opaque", data={"key": content})
    obj = ConfigObject(kind, Metadata(name="cred", namespace="shop"), spec)
    return Item(obj.key, resource(sealed(obj, key), 1, None).SerializeToString(), 4)


def published(uri: str, keys: str = "{}") -> Item:
    """Keys of an issuer."""
    record_ = PublishedKeys(jwks_uri=uri, keys=keys)
    return Item(jwks_key(uri, ""), record_.SerializeToString(), 3)


def authority(key: bytes, now: datetime, *, domain: str = "cluster.local") -> tuple[Item, str]:
    """A new CA, sealed, and its root as PEM."""
    slot = self_signed(domain, new_private_key("P256"), now=now, ttl=_LIFE, serial=7)
    made = Authority(domain, (slot,))
    value = seal(record(made), key, b"n" * 12).SerializeToString()
    return Item(AUTHORITY_KEY, value, 2), made.roots_pem


def written(
    path: Path, items: Iterable[Item], header: Header = HEADER, keys: object = None
) -> Backup:
    """A backup of these items in a file, and what is read back."""
    with writing(path, header) as writer:
        for item in items:
            writer.add(item)
        writer.finish(json.loads(json.dumps(keys)))
    return read(path)
