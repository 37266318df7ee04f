"""Attributes of what Envoy's access logs tell of requests (mixer_proxy.md C.5, K, K8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from envoy.config.core.v3.base_pb2 import Node
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from google.protobuf.struct_pb2 import Struct

from mast.mixer.core.engine import Reads
from mast.mixer.core.envoy_attributes import (
    INBOUND,
    MARKS,
    OUTBOUND,
    Registry,
    Reporter,
    protocol,
)
from mast.mixer.core.envoy_connections import shared_attributes
from mast.mixer.core.envoy_entries import METHODS, VERDICT, takes
from mast.mixer.core.envoy_flags import flag_text
from mast.mixer.core.envoy_metadata import (
    AUTHENTICATION,
    put_authentication,
    put_error,
    put_rbac,
    string_map,
)
from mast.mixer.core.metric_overrides import put_overrides
from mast.mixer.core.records import Kind, Record
from mast.mixer.core.values import Attributes, Value
from mast.mixer.core.workloads import UID_PREFIX, packed_ip
from mastapi.mixer.v1.access_log_pb2 import HttpEntry

_OURS = frozenset({MARKS, VERDICT})
_NO_FLAGS = "-"
_UNAUTHORIZED = "UAEX"

Extract = Callable[[dict[str, Value], HTTPAccessLogEntry], None]

KINDS = 4_000
"""Kinds of entries of one stream that are remembered; when there are more, all are forgotten."""

LONGEST_BYTES = 8_192
"""Longer ones are not: clients choose texts in them, such as the host of a request."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What all entries of one access-log stream have in common: its first message says it (K6)."""

    reporter: Reporter
    node_id: str = ""

    @classmethod
    def of(cls, node: Node, log_name: str) -> Stream:
        """The log name is the direction of the listeners; the node id has the address and name."""
        parts = node.id.split("~")
        address, name = (parts[1], parts[2]) if len(parts) == 4 else ("", "")
        metadata = node.metadata.fields
        return cls(
            Reporter(
                kind=OUTBOUND if log_name == OUTBOUND else INBOUND,
                uid=f"{UID_PREFIX}{name}" if name else "",
                version=metadata["ISTIO_VERSION"].string_value,
                address=packed_ip(address),
                mesh=metadata["MESH_ID"].string_value,
            ),
            node.id,
        )


class HttpReports:
    """Turns the entries of one stream into attributes, those that the configuration reads."""

    def __init__(self, stream: Stream, registry: Registry) -> None:
        self._reporter = stream.reporter
        self._registry = registry
        self._kinds: dict[bytes, Kind] = {}
        self._generation = registry.generation
        self._configure(None)

    def attributes(self, entry: HttpEntry, reads: Reads | None = None) -> Attributes:
        """The attributes of a finished request (C.5, "HTTP report adds").

        ``reads`` may leave out what is expensive and of no use; None means everything. The entry is
        taken apart on the way.
        """
        if reads is not self._reads:
            self._configure(reads)
        if self._generation != self._registry.generation or len(self._kinds) > KINDS:
            self._generation = self._registry.generation
            self._kinds.clear()
        own: dict[str, Value] = {}
        for take in self._takes:
            take(own, entry)
        key = entry.SerializeToString()
        kind = self._kinds.get(key)
        if kind is None:
            shared = self._shared(HTTPAccessLogEntry.FromString(key))
            if len(key) > LONGEST_BYTES:
                return {**shared, **own}
            kind = self._kinds[key] = Kind(shared)
        return Record(kind, own)

    def _configure(self, reads: Reads | None) -> None:
        self._reads, self._takes = reads, takes(reads)
        self._put_policy = _policy(None if reads is None else reads.attributes)
        self._kinds.clear()

    def _shared(self, entry: HTTPAccessLogEntry) -> dict[str, Value]:
        """What all entries say of which the same is left."""
        common = entry.common_properties
        found = shared_attributes(common, self._reporter, self._registry)
        put_overrides(found, common.custom_tags)
        _put_usual(found, entry)
        self._put_policy(found, entry)
        return found


def _put_usual(found: dict[str, Value], entry: HTTPAccessLogEntry) -> None:
    request, response = entry.request, entry.response
    found["request.host"] = request.authority
    found["request.scheme"] = request.scheme or "http"
    if request.user_agent:
        found["request.useragent"] = request.user_agent
    method = METHODS.get(request.request_method)
    if method:
        found["request.method"] = method
    found["context.protocol"] = protocol(request.request_headers.get("content-type", ""))
    found["response.code"] = response.response_code.value or 500


def _policy(names: frozenset[str] | None) -> Extract:
    """What filters left in the metadata of a request, ours and others' (C.5, C9).

    ``names`` are those of all attributes that are read, None for any.
    """
    authentication = names is None or any(name.startswith(AUTHENTICATION) for name in names)

    def put(found: dict[str, Value], entry: HTTPAccessLogEntry) -> None:
        common = entry.common_properties
        flags = flag_text(common.response_flags) if common.HasField("response_flags") else ""
        metadata = common.metadata.filter_metadata
        if metadata:
            flags = _put_verdict(found, metadata, flags)
            put_rbac(found, metadata)
            if authentication:
                put_authentication(found, metadata)
            for name in metadata:
                if name not in _OURS and (names is None or name in names):
                    texts = string_map(metadata[name])
                    if texts:
                        found[name] = texts
        found["context.proxy_error_code"] = flags or _NO_FLAGS

    return put


def _put_verdict(found: dict[str, Value], metadata: Mapping[str, Struct], flags: str) -> str:
    """What the check cache and ext_authz say of the check; gives the flags with that of a denial.

    The cache marks what it let pass as a `hit`, and as a `cache_hit` what it answered itself.
    Envoy has no flag for requests that a script denied.
    """
    marks: Mapping[str, Any] = metadata[MARKS].fields if MARKS in metadata else {}
    verdict: Mapping[str, Any] = metadata[VERDICT].fields if VERDICT in metadata else {}
    hit = "hit" in marks or "cache_hit" in marks
    if not (hit or verdict):
        return flags
    put_error(found, marks if hit else verdict)
    found["check.cache_hit"] = hit
    if "quota_cache_hit" in marks:
        found["quota.cache_hit"] = True
    elif "grants" in verdict:
        found["quota.cache_hit"] = False
    if hit and "error_code" in marks and _UNAUTHORIZED not in flags.split(","):
        return f"{flags},{_UNAUTHORIZED}" if flags else _UNAUTHORIZED
    return flags
