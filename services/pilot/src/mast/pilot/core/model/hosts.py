"""Host names: short forms, wildcard matching, and the domains of a virtual host."""

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address

from mast.pilot.core.model.model import Service


def expand(host: str, namespace: str, domain: str) -> str:
    """The full name of a host in a resource of `namespace` (pilot.md F1).

    A name without dots is a service of the namespace; dotted names and wildcards are complete.
    `domain` is the mesh's DNS suffix, `cluster.local`.
    """
    if "." in host or "*" in host or not host:
        return host
    return f"{host}.{namespace}.svc.{domain}"


def full_names(host: str, namespace: str, domain: str) -> Iterator[str]:
    """What a client in a namespace may mean by a host: the name itself, then its full forms (C4).

    `domain` is the mesh's DNS suffix.
    """
    yield host.removesuffix(".")
    if "." not in host:
        yield f"{host}.{namespace}.svc.{domain}"
    elif host.endswith(".svc"):
        yield f"{host}.{domain}"
    elif host.count(".") == 1:
        yield f"{host}.svc.{domain}"


def is_wildcard(host: str) -> bool:
    """True for `*` and `*.x`."""
    return host.startswith("*")


def matches(pattern: str, host: str) -> bool:
    """True if the pattern (a name, `*` or `*.x`) covers every name that `host` stands for.

    Names compare case-insensitively; `*.x` does not cover `x`.
    """
    pattern, host = pattern.lower(), host.lower()
    if not is_wildcard(pattern):
        return pattern == host
    return host.endswith(pattern[1:]) and (len(host) >= len(pattern))


def overlaps(one: str, other: str) -> bool:
    """True if some name is covered by both patterns."""
    return matches(one, other) or matches(other, one)


def wildcards_over(host: str) -> Iterator[str]:
    """Wildcards that cover a host, the most specific first: `*.b.c`, `*.c`, `*` for `a.b.c`.

    A wildcard host is covered by itself as well.
    """
    if is_wildcard(host):
        yield host
    rest = host
    while "." in rest:
        rest = rest.partition(".")[2]
        if f"*.{rest}" != host:
            yield f"*.{rest}"
    if host != "*":
        yield "*"


def kubernetes_parts(host: str) -> tuple[str, str, str] | None:
    """NAME, NAMESPACE and DOMAIN of a host of the form NAME.NAMESPACE.svc.DOMAIN, else None.

    The registry it came from does not matter: a laptop's services have Kubernetes short names too.
    """
    parts = host.split(".", 3)
    if len(parts) == 4 and parts[2] == "svc" and all(parts) and not is_wildcard(host):
        return parts[0], parts[1], parts[3]
    return None


def short_names(host: str, proxy_namespace: str, dns_domain: str) -> tuple[str, ...]:
    """Shorter names by which a proxy's application may call the host (pilot.md C4)."""
    if (parts := kubernetes_parts(host)) is not None:
        name, namespace, _ = parts
        if namespace == proxy_namespace:
            return name, f"{name}.{namespace}.svc", f"{name}.{namespace}"
        return f"{name}.{namespace}", f"{name}.{namespace}.svc"
    if is_wildcard(host) or ".svc." in dns_domain or not dns_domain:
        return ()
    return _without_shared_suffix(host, dns_domain)


def _without_shared_suffix(host: str, dns_domain: str) -> tuple[str, ...]:
    """The host without the trailing labels that it shares with the proxy's own domain."""
    own, theirs = dns_domain.split("."), host.split(".")
    shared = 0
    while shared < min(len(own), len(theirs) - 1) and own[-1 - shared] == theirs[-1 - shared]:
        shared += 1
    return (".".join(theirs[: len(theirs) - shared]),) if shared else ()


def domains(
    service: Service,
    proxy_namespace: str,
    dns_domain: str,
    *,
    cluster: str = "",
    automatic: bool = False,
) -> tuple[str, ...]:
    """Domains of the virtual host of a service, without ports, in order of claim (pilot.md C4).

    The host itself, with a final dot, its short names, its VIPs (IPv6 in brackets), the same with
    a `*.` before for headless services, and the names of aliases. `cluster` is the proxy's own,
    `automatic` tells whether its clients learn automatic VIPs. The full name comes first: it wins
    over short forms (C6).
    """
    found = list(_forms(service.host, proxy_namespace, dns_domain, headless=service.headless))
    vips = service.vips(cluster, automatic=automatic)
    found += [url_host(vip) for vip in vips if is_single_address(vip)]
    for alias in service.aliases:
        found += _forms(alias, proxy_namespace, dns_domain, headless=False)
    return tuple(dict.fromkeys(found))


def _forms(host: str, proxy_namespace: str, dns_domain: str, *, headless: bool) -> Iterator[str]:
    names = [host, *short_names(host, proxy_namespace, dns_domain)]
    if not is_wildcard(host):
        names.insert(1, f"{host}.")
    yield from names
    if headless and not is_wildcard(host):
        yield from (f"*.{name}" for name in names)


@lru_cache(maxsize=65536)
def is_single_address(address: str) -> bool:
    """True for an IP address, false for a CIDR or anything else; 0.0.0.0 is no address."""
    try:
        return not ip_address(address).is_unspecified
    except ValueError:
        return False


def url_host(address: str) -> str:
    """An IP address as it stands in a Host header: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address
