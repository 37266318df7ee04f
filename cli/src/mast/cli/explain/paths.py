"""What an HTTP connection manager does to the path of a request before it looks for a route."""

from __future__ import annotations

import re
from dataclasses import replace

from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from mast.cli.explain.traffic import Request

_ESCAPED_SLASH = re.compile(r"%2[fF]|%5[cC]")
_ESCAPE = re.compile(r"%([0-9a-fA-F]{2})")
_DOTS_WITH_PARAMETERS = re.compile(r"(/\.{1,2});[^/]*")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_KEEP = {
    HttpConnectionManager.IMPLEMENTATION_SPECIFIC_DEFAULT,
    HttpConnectionManager.KEEP_UNCHANGED,
}


class Refused(Exception):
    """The connection manager answers by itself, with ``status``, and says why."""

    def __init__(self, status: int, reason: str, location: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.location = location


def normalised(manager: HttpConnectionManager, request: Request) -> Request:
    """The request with the path that routes see; raises Refused if the proxy goes no further.

    Order and meaning: escaped slashes, parameters of dot segments, dot segments and needless
    escapes, repeated slashes (Envoy HttpConnectionManager, "normalize_path", "merge_slashes",
    "path_with_escaped_slashes_action"). A fragment is cut off first, as proxies of the mesh are
    told not to refuse it (citadel-and-agent.md B5).
    """
    bare, mark, query = request.path.partition("#")[0].partition("?")
    action = manager.path_with_escaped_slashes_action
    redirects = False
    if action not in _KEEP and _ESCAPED_SLASH.search(bare):
        redirects = action == HttpConnectionManager.UNESCAPE_AND_REDIRECT
        # A gRPC client follows no redirect.
        if action == HttpConnectionManager.REJECT_REQUEST or (redirects and request.grpc):
            raise Refused(400, "the path has escaped slashes")
        bare = _ESCAPED_SLASH.sub(lambda m: "/" if m[0].lower() == "%2f" else "\\", bare)
    if manager.normalize_path.value:
        if "%00" in bare:
            raise Refused(400, "the path has a zero byte")
        bare = _canonical(_DOTS_WITH_PARAMETERS.sub(r"\1", bare))
    if manager.merge_slashes:
        bare = re.sub(r"/+", "/", bare)
    if redirects:
        raise Refused(307, "the path has escaped slashes", bare + mark + query)
    return replace(request, path=bare + mark + query)


def _canonical(path: str) -> str:
    """Dot segments resolved, backslashes turned, unreserved characters unescaped (RFC 3986 §6)."""
    path = _ESCAPE.sub(_unescaped, path.replace("\\", "/"))
    segments: list[str] = []
    parts = path.split("/")
    for number, part in enumerate(parts[1:], 1):
        last = number == len(parts) - 1
        if part in {".", ".."}:
            if part == ".." and segments:
                segments.pop()
            if last:
                segments.append("")
        else:
            segments.append(part)
    return "/" + "/".join(segments)


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0]
