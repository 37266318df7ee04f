"""Which route takes a request, and what the route does (Envoy v3 API, "RouteConfiguration")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import re2  # type: ignore[import-untyped]
from envoy.config.route.v3.route_components_pb2 import (
    RedirectAction,
    Route,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from mast.cli.explain.matchers import (
    header_matches,
    metadata_matches,
    query_matches,
)
from mast.cli.explain.traffic import Request
from mast.cli.inspect.listeners import path_text
from mast.common.envoy.matchers import NotUnderstood, regex_matches

_LAST_DOT = re.compile(r"\.(?=(?::\d*)?$)")
_PORT = re2.compile(r".*:(\d+)$")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECT_STATUS = {
    RedirectAction.MOVED_PERMANENTLY: 301,
    RedirectAction.FOUND: 302,
    RedirectAction.SEE_OTHER: 303,
    RedirectAction.TEMPORARY_REDIRECT: 307,
    RedirectAction.PERMANENT_REDIRECT: 308,
}


@dataclass(frozen=True)
class Chosen:
    """The route of a request: its virtual host, its place there, what routes before it lacked."""

    host: VirtualHost
    position: int
    route: Route
    passed_over: Sequence[str] = ()


def stripped_authority(manager: HttpConnectionManager, request: Request, port: int) -> Request:
    """The request without what the manager takes away of its authority: the last dot, the port."""
    authority = request.authority
    if manager.strip_trailing_host_dot:
        authority = _LAST_DOT.sub("", authority)
    if found := _PORT.match(authority):
        same = manager.strip_matching_host_port and int(found[1]) == port
        if manager.strip_any_host_port or same:
            authority = authority.rpartition(":")[0]
    return replace(request, authority=authority)


def virtual_host(routes: RouteConfiguration, authority: str) -> VirtualHost | None:
    """The virtual host of an authority; None if there is none, which is answered with 404.

    Exact domains, then the longest ``*suffix``, the longest ``prefix*``, then ``*``.
    """
    wanted = authority.lower()
    if routes.ignore_port_in_host_matching and _PORT.match(wanted):
        wanted = wanted.rpartition(":")[0]
    domains = [(domain.lower(), host) for host in routes.virtual_hosts for domain in host.domains]
    for domain, host in domains:
        if domain == wanted:
            return host
    found: list[tuple[bool, int, VirtualHost]] = []
    for domain, host in domains:
        if domain == "*" or len(domain) - 1 >= len(wanted):
            continue
        if domain.startswith("*") and wanted.endswith(domain[1:]):
            found.append((True, len(domain), host))
        elif domain.endswith("*") and wanted.startswith(domain[:-1]):
            found.append((False, len(domain), host))
    if found:
        return max(found, key=lambda each: each[:2])[2]
    return next((host for domain, host in domains if domain == "*"), None)


def chosen_route(host: VirtualHost, request: Request) -> Chosen | Sequence[str]:
    """The first route of a virtual host that matches; else why each of them does not."""
    if host.HasField("matcher"):
        raise NotUnderstood(f"virtual host {host.name!r}: a tree of matchers")
    passed: list[str] = []
    for position, route in enumerate(host.routes):
        missing = lacking(route.match, request)
        if not missing:
            return Chosen(host, position, route, tuple(passed))
        passed.append(missing)
    return passed


def lacking(match: RouteMatch, request: Request) -> str:
    """The first thing that a request lacks to match, empty if it does."""
    return next(_lacking(match, request), "")


def _lacking(match: RouteMatch, request: Request) -> Iterator[str]:
    """What a request lacks to match; nothing if it does."""
    if (path := _path_lacking(match, request)) is not None:
        yield path
    if match.HasField("runtime_fraction") and not match.runtime_fraction.default_value.numerator:
        yield "it is switched off"
    if match.HasField("grpc") and not request.grpc:
        yield "it is no gRPC"
    for header in match.headers:
        if not header_matches(header, request):
            found = request.header(header.name)
            yield f"header {header.name} is " + ("missing" if found is None else repr(found))
    for parameter in match.query_parameters:
        if not query_matches(parameter, request):
            found = request.query.get(parameter.name)
            yield f"parameter {parameter.name} is " + ("missing" if found is None else repr(found))
    if match.HasField("tls_context"):
        context = match.tls_context
        for wanted in (context.presented, context.validated):
            if wanted.value != request.mutual_tls and wanted.ByteSize():
                yield "the client certificate"
    for each in match.dynamic_metadata:
        if not metadata_matches(each, request.metadata):
            yield "claim " + ".".join(segment.key for segment in each.path[1:])
    if match.filter_state:
        raise NotUnderstood("a route that matches filter state")


def conditions(match: RouteMatch) -> str:
    """What a route asks of a request: its path, and the names of whatever else it looks at."""
    looked_at = [
        *(f"header {each.name}" for each in match.headers),
        *(f"parameter {each.name}" for each in match.query_parameters),
        *("claim " + ".".join(s.key for s in each.path[1:]) for each in match.dynamic_metadata),
    ]
    return f"{path_text(match)} by {', '.join(looked_at)}" if looked_at else path_text(match)


def _path_lacking(match: RouteMatch, request: Request) -> str | None:
    path = request.bare_path
    kind = match.WhichOneof("path_specifier")
    insensitive = match.HasField("case_sensitive") and not match.case_sensitive.value
    cased: Callable[[str], str] = str.lower if insensitive else str
    matched: bool
    match kind:
        case "prefix":
            matched = cased(path).startswith(cased(match.prefix))
            wanted = f"{match.prefix}*"
        case "path":
            matched = cased(path) == cased(match.path)
            wanted = match.path
        case "path_separated_prefix":
            prefix = cased(match.path_separated_prefix)
            matched = cased(path) == prefix or cased(path).startswith(f"{prefix}/")
            wanted = f"{match.path_separated_prefix}/*"
        case "safe_regex":
            matched = regex_matches(match.safe_regex.regex, path)
            wanted = f"regex {match.safe_regex.regex}"
        case "connect_matcher":
            matched = request.method == "CONNECT"
            wanted = "CONNECT"
        case _:
            raise NotUnderstood(f"a path match of kind {kind or 'nothing'}")
    return None if matched else f"path is not {wanted}"


@dataclass(frozen=True)
class Share:
    """A cluster that a request may go to, and how many percent do."""

    cluster: str
    percent: float


def shares(route: Route, request: Request) -> Sequence[Share]:
    """The clusters of a route's action, by weight."""
    action = route.route
    match action.WhichOneof("cluster_specifier"):
        case "cluster":
            return [Share(action.cluster, 100)]
        case "cluster_header":
            return [Share(request.header(action.cluster_header) or "", 100)]
        case "weighted_clusters":
            weighted = action.weighted_clusters.clusters
            total = sum(each.weight.value for each in weighted) or 1
            return [Share(each.name, 100 * each.weight.value / total) for each in weighted]
        case other:
            raise NotUnderstood(f"clusters by {other}")


def redirect_for_tls(host: VirtualHost, request: Request) -> str | None:
    """Where a virtual host that insists on TLS redirects a plain request to."""
    if host.require_tls == VirtualHost.NONE or request.scheme == "https":
        return None
    return f"https://{request.authority}{request.path}"


def redirected(route: Route, request: Request) -> tuple[int, str]:
    """Status and location of a redirect."""
    action = route.redirect
    scheme = request.scheme
    kind = action.WhichOneof("scheme_rewrite_specifier")
    if kind == "https_redirect" and action.https_redirect:
        scheme = "https"
    elif kind == "scheme_redirect":
        scheme = action.scheme_redirect
    host, port = _split(request.authority)
    if kind is not None and port is not None and port in _DEFAULT_PORTS.values():
        # The default port of the old scheme is none of the new one.
        port = None if scheme != request.scheme and port == _DEFAULT_PORTS[request.scheme] else port
    if action.host_redirect:
        host, port = action.host_redirect, None
    if action.port_redirect:
        port = action.port_redirect
    authority = host if port is None else f"{host}:{port}"
    location = f"{scheme}://{authority}{_redirected_path(route, request)}"
    return _REDIRECT_STATUS[action.response_code], location


def _redirected_path(route: Route, request: Request) -> str:
    action = route.redirect
    _, mark, query = request.path.partition("?")
    rest = "" if action.strip_query else mark + query
    match action.WhichOneof("path_rewrite_specifier"):
        case "path_redirect":
            return (
                action.path_redirect
                if "?" in action.path_redirect
                else (action.path_redirect + rest)
            )
        case "prefix_rewrite":
            return _prefix_replaced(route.match, request.bare_path, action.prefix_rewrite) + rest
        case "regex_rewrite":
            pattern = action.regex_rewrite.pattern.regex
            return (
                _substituted(pattern, action.regex_rewrite.substitution, request.bare_path) + rest
            )
        case _:
            return request.bare_path + rest


def forwarded(route: Route, request: Request) -> Request:
    """The request as its destination sees path and authority."""
    action = route.route
    path, _, query = request.path.partition("?")
    if action.prefix_rewrite:
        path = _prefix_replaced(route.match, path, action.prefix_rewrite)
    elif action.HasField("regex_rewrite"):
        path = _substituted(
            action.regex_rewrite.pattern.regex, action.regex_rewrite.substitution, path
        )
    authority = action.host_rewrite_literal or request.authority
    return replace(request, path=f"{path}?{query}" if query else path, authority=authority)


def _prefix_replaced(match: RouteMatch, path: str, replacement: str) -> str:
    kind = match.WhichOneof("path_specifier")
    if kind in {"prefix", "path_separated_prefix", "path"}:
        return replacement + path[len(getattr(match, kind)) :]
    return replacement if kind == "safe_regex" else path


def _substituted(pattern: str, substitution: str, path: str) -> str:
    try:
        return str(re2.sub(pattern, substitution, path))
    except re2.error as error:
        raise NotUnderstood(f"the regular expression {pattern!r}: {error}") from error


def _split(authority: str) -> tuple[str, int | None]:
    found = _PORT.match(authority)
    return (authority.rpartition(":")[0], int(found[1])) if found else (authority, None)


def reasons(passed: Iterable[str]) -> str:
    """Why routes did not match, each reason once."""
    return "; ".join(dict.fromkeys(passed))
