"""Columns of what a proxy has, named as Istio's users know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.base_pb2 import Metadata

from mast.cli.envoy.plain import plain


@dataclass(frozen=True)
class Table:
    """Rows for people, and the whole messages for programs."""

    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)

    def add(self, message: Any, *rows: Sequence[str]) -> None:
        """A message and its rows."""
        self.data.append(plain(message))
        self.rows.extend(list(row) for row in rows)


def origin(metadata: Metadata) -> str:
    """``NAME.NAMESPACE`` of the configuration that a cluster or route comes from, or nothing."""
    reference = config_reference(metadata)
    parts = reference.split("/")
    # /apis/GROUP/VERSION/namespaces/NAMESPACE/KIND/NAME
    return f"{parts[7]}.{parts[5]}" if len(parts) == 8 else reference


def config_reference(metadata: Metadata) -> str:
    """Path of the configuration object in the metadata (pilot.md C3), or nothing."""
    fields = metadata.filter_metadata["istio"].fields if _has_istio(metadata) else {}
    return fields["config"].string_value if "config" in fields else ""


def _has_istio(metadata: Metadata) -> bool:
    return "istio" in metadata.filter_metadata


def address(of: Address) -> tuple[str, int]:
    """Host and port of an address; a socket's path and 0."""
    if of.HasField("pipe"):
        return f"unix://{of.pipe.path}", 0
    if of.HasField("envoy_internal_address"):
        internal = of.envoy_internal_address
        return f"envoy://{internal.server_listener_name}/{internal.endpoint_id}", 0
    return of.socket_address.address, of.socket_address.port_value


def address_text(of: Address) -> str:
    """``HOST:PORT``, IPv6 in brackets, or a path."""
    host, port = address(of)
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
