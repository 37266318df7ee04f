"""What the etcd adapter takes and gives: settings, entries, changes, transactions, errors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Protocol

from mast.common.etcd.stubs import Etcd3Exception


@dataclass(frozen=True, kw_only=True)
class EtcdConfig:
    """How to reach etcd.

    ``endpoints`` are ``host:port`` of members of one cluster, tried in turn. ``root`` is put
    before every key. ``ca``, ``cert`` and ``key`` are PEM files; TLS is used if ``ca`` or
    ``cert`` is given. ``timeout`` bounds every call, waiting for a connection included.
    """

    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    root: str = "/mast"
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    password: str | None = None
    timeout: timedelta = timedelta(seconds=5)

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("etcd endpoints: at least one host:port is needed")
        if (self.cert is None) != (self.key is None):
            raise ValueError("etcd cert and key: give both or none")
        if (self.user is None) != (self.password is None):
            raise ValueError("etcd user and password: give both or none")
        if not self.root or self.root.endswith("/"):
            raise ValueError(f"etcd root {self.root!r}: must not be empty or end with '/'")


class EtcdFlags(Protocol):
    """The ``--etcd-*`` flags that every service has."""

    @property
    def etcd_endpoints(self) -> tuple[str, ...]: ...
    @property
    def etcd_root(self) -> str: ...
    @property
    def etcd_ca(self) -> Path | None: ...
    @property
    def etcd_cert(self) -> Path | None: ...
    @property
    def etcd_key(self) -> Path | None: ...
    @property
    def etcd_user(self) -> str: ...
    @property
    def etcd_password_file(self) -> Path | None: ...


def etcd_config(flags: EtcdFlags) -> EtcdConfig:
    """How the flags say that etcd is to be reached; reads the password file."""
    password = flags.etcd_password_file
    return EtcdConfig(
        endpoints=flags.etcd_endpoints,
        root=flags.etcd_root,
        ca=flags.etcd_ca,
        cert=flags.etcd_cert,
        key=flags.etcd_key,
        user=flags.etcd_user or None,
        password=password.read_text().strip() if password else None,
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored key: ``version`` counts its writes since creation, ``lease`` is 0 for none."""

    key: str
    value: bytes
    mod_revision: int
    create_revision: int
    version: int
    lease: int


@dataclass(frozen=True, slots=True)
class Listing:
    """All entries under a prefix, by key, as they were at one ``revision``."""

    entries: tuple[Entry, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a key since the follower was last told about it.

    ``value`` is None for a deletion; ``previous`` is the value told before, None if there was
    none. ``mod_revision`` rises from change to change of a key; for a deletion noticed only by
    listing again it is the revision of that listing. A deletion has ``create_revision`` 0.
    """

    key: str
    value: bytes | None
    mod_revision: int
    create_revision: int
    previous: bytes | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes of distinct keys, in key-change order.

    With ``synced`` everything told so far adds up to exactly what etcd held under the prefix at
    ``revision``; without it a listing is still going on and later batches complete it.
    """

    changes: tuple[Change, ...]
    revision: int
    synced: bool


class Target(Enum):
    """What of a key a comparison looks at."""

    MOD_REVISION = "Mod"
    CREATE_REVISION = "Create"
    VERSION = "Version"
    VALUE = "Value"


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition of a transaction: ``target`` of ``key`` equals ``value``.

    The revisions and the version of a missing key are 0.
    """

    key: str
    value: int | bytes
    target: Target = Target.MOD_REVISION

    @classmethod
    def unchanged(cls, key: str, mod_revision: int) -> Compare:
        """The key was last written at ``mod_revision``; 0: it does not exist."""
        return cls(key, mod_revision)

    @classmethod
    def absent(cls, key: str) -> Compare:
        """The key does not exist."""
        return cls(key, 0)

    @classmethod
    def created(cls, key: str, create_revision: int) -> Compare:
        """The key still is the one created at ``create_revision``: a fencing condition."""
        return cls(key, create_revision, Target.CREATE_REVISION)


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key in a transaction; ``lease`` 0 means none."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key in a transaction, or every key that begins with it."""

    key: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class TxnResult:
    """Whether all comparisons held, and the store's revision after the transaction."""

    succeeded: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Health:
    """Whether etcd answers, since when that is so, and what the last failure was."""

    connected: bool
    since: datetime | None
    detail: str


class EtcdError(Etcd3Exception):  # type: ignore[misc]
    """A call of etcd failed."""


class Unavailable(EtcdError):
    """etcd did not answer in time. A write may nevertheless have happened: read before retrying."""

    def __init__(self, operation: str, endpoint: str, detail: str) -> None:
        super().__init__(f"etcd at {endpoint}: {operation}: {detail}")
        self.operation = operation
        self.endpoint = endpoint
        self.detail = detail


class Rejected(EtcdError):
    """etcd answered that it will not do it (permission, size, quota); nothing was written."""

    def __init__(self, operation: str, endpoint: str, code: str, detail: str) -> None:
        super().__init__(f"etcd at {endpoint}: {operation}: {code}: {detail}")
        self.operation = operation
        self.endpoint = endpoint
        self.code = code
        self.detail = detail


class Compacted(EtcdError):
    """The history asked for is gone; list again."""

    def __init__(self, operation: str, detail: str) -> None:
        super().__init__(f"etcd: {operation}: {detail}")
        self.operation = operation
        self.detail = detail


class Conflict(EtcdError):
    """Somebody else wrote the key: it is not at the expected mod revision (0: it is missing)."""

    def __init__(self, key: str, expected: int, found: int) -> None:
        super().__init__(
            f"etcd: key {key!r} is at revision {found}, expected {expected} (0 = absent)"
        )
        self.key = key
        self.expected = expected
        self.found = found
