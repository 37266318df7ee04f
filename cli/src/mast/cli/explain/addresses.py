"""Whom an HTTP connection manager takes for the caller (Envoy v3 API, "x-forwarded-for")."""

from __future__ import annotations

from ipaddress import ip_address

from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from mast.cli.explain.traffic import Connection, Request
from mast.common.envoy.matchers import NotUnderstood

_FORWARDED_FOR = "x-forwarded-for"


def remote_address(manager: HttpConnectionManager, request: Request, connection: Connection) -> str:
    """The IP address of the caller, as far as the header may be trusted; else the connection's.

    A manager that uses the remote address trusts as many proxies as it is told, others the last
    one that wrote the header and as many before it.
    """
    if manager.original_ip_detection_extensions:
        raise NotUnderstood("extensions that detect the caller's address")
    trusted = manager.xff_num_trusted_hops
    if not manager.use_remote_address.value:
        found = _from_the_end(request, trusted)
    else:
        found = _from_the_end(request, trusted - 1) if trusted else ""
    return found or connection.source_address


def _from_the_end(request: Request, place: int) -> str:
    """The address at a place of the header, counted from its end; empty if there is none."""
    written = (request.header(_FORWARDED_FOR) or "").split(",")
    if place >= len(written):
        return ""
    text = written[-1 - place].strip()
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
