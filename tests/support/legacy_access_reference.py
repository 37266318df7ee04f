"""What ServiceRoles and their bindings mean, said once more: without any Envoy (pilot.md J7).

Written from the rule and Istio 1.4's documentation alone, so that it can judge what Pilot makes of
them. Objects are documents as users write them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from tests.support.authorization_reference import Call, Document, text_fits

GROUPS = "request.auth.claims[groups]"


@dataclass(frozen=True, kw_only=True)
class Served:
    """The service that is called, as a workload serves it; `user` is its service account."""

    host: str
    namespace: str
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    trust_domains: Sequence[str] = ("cluster.local",)
    root_namespace: str = "istio-system"

    @property
    def name(self) -> str:
        """The short name."""
        return self.host.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """Whether a call passes, and whether bindings that are only tried would let it pass."""

    allowed: bool
    tried: bool = False
    roles: frozenset[str] = frozenset()


def ruling(objects: Iterable[Document], served: Served, call: Call) -> Ruling:
    """The ruling on a call; `objects` are those of all kinds of the mesh."""
    every = list(objects)
    config = _config(every)
    if config is None or not _is_on(config, served):
        return Ruling(allowed=True)
    whole_is_tried = config.get("enforcementMode") == "PERMISSIVE"
    enforced, tried = set(), set()
    for each in _of_kind(every, "ServiceRoleBinding", served.namespace):
        spec = each["spec"]
        name, rules = _rules(every, each, served)
        fits = any(_rule(rule, served, call) for rule in rules) and any(
            _subject(subject, served, call) for subject in spec["subjects"]
        )
        if fits:
            is_tried = whole_is_tried or spec.get("mode") == "PERMISSIVE"
            (tried if is_tried else enforced).add(name)
    return Ruling(
        allowed=whole_is_tried or bool(enforced),
        tried=bool(tried),
        roles=frozenset(enforced),
    )


def _of_kind(objects: Iterable[Document], kind: str, namespace: str) -> list[Document]:
    return [
        each
        for each in objects
        if each["kind"] == kind and each["metadata"].get("namespace", "") == namespace
    ]


def _config(objects: Sequence[Document]) -> Document | None:
    for kind in ("ClusterRbacConfig", "RbacConfig"):
        for each in objects:
            if each["kind"] == kind and each["metadata"]["name"] == "default":
                found: Document = each["spec"]
                return found
    return None


def _is_on(config: Document, served: Served) -> bool:
    mode = config.get("mode", "OFF")
    if mode in {"OFF", "ON"}:
        return bool(mode == "ON")
    target = config["inclusion" if mode == "ON_WITH_INCLUSION" else "exclusion"]
    named = served.namespace in target.get("namespaces", ()) or any(
        served.host in _meant(each, served.namespace) for each in target.get("services", ())
    )
    return named if mode == "ON_WITH_INCLUSION" else not named


def _meant(entry: str, namespace: str) -> set[str]:
    """Full names that an entry may stand for."""
    return {
        entry,
        f"{entry}.{namespace}.svc.cluster.local",
        f"{entry}.svc.cluster.local",
        f"{entry}.cluster.local",
    }


def _rules(
    objects: Sequence[Document], binding: Document, served: Served
) -> tuple[str, Sequence[Document]]:
    spec = binding["spec"]
    if "actions" in spec:
        return f"binding[{binding['metadata']['name']}]", spec["actions"]
    name = spec["role"] if "role" in spec else spec["roleRef"]["name"]
    where = served.root_namespace if name.startswith("/") else served.namespace
    for each in _of_kind(objects, "ServiceRole", where):
        if each["metadata"]["name"] == name.removeprefix("/"):
            return name, each["spec"]["rules"]
    return name, ()


def _rule(rule: Document, served: Served, call: Call) -> bool:
    if not any(_is_service(each, served) for each in rule["services"]):
        return False
    constraints = rule.get("constraints", ())
    needs_http = {"hosts", "notHosts", "paths", "notPaths", "methods", "notMethods"} & set(rule)
    needs_http |= {c["key"] for c in constraints if c["key"].startswith("request.headers")}
    if needs_http and not call.http:
        return False
    path = call.path.partition("#")[0].partition("?")[0]
    hosts = [each.lower() for each in rule.get("hosts", ())]
    not_hosts = [each.lower() for each in rule.get("notHosts", ())]
    for wanted, unwanted, text in (
        (hosts, not_hosts, call.host.lower()),
        (rule.get("paths", ()), rule.get("notPaths", ()), path),
        (rule.get("methods", ()), rule.get("notMethods", ()), call.method),
    ):
        if not _listed(wanted, unwanted, text):
            return False
    if call.port not in rule.get("ports", [call.port]) or call.port in rule.get("notPorts", ()):
        return False
    return all(_constraint(each["key"], each["values"], served, call) for each in constraints)


def _listed(wanted: Sequence[str], unwanted: Sequence[str], text: str) -> bool:
    if wanted and not any(text_fits(each, text) for each in wanted):
        return False
    return not any(text_fits(each, text) for each in unwanted)


def _is_service(entry: str, served: Served) -> bool:
    if "*" in entry:
        return text_fits(entry, served.host)
    return served.host in _meant(entry, served.namespace)


def _constraint(key: str, values: Sequence[str], served: Served, call: Call) -> bool:
    start, *inner = key.replace("]", "").split("[")
    text: str | None
    if key == "destination.ip":
        return any(_in_block(each, call.address) for each in values)
    if start == "destination.labels":
        text = served.labels.get(inner[0])
    elif start == "request.headers":
        return any(_is_header(inner[0], each, call) for each in values)
    elif start.startswith("experimental."):
        text = call.metadata.get(start.removeprefix("experimental."), {}).get(inner[0])
    else:
        text = {
            "destination.port": str(call.port),
            "destination.name": served.name,
            "destination.namespace": served.namespace,
            "destination.user": served.user or None,
            "connection.sni": call.sni or None,
        }[key]
    return any(text_fits(each, text) for each in values)


_HTTP_ONLY_FIELDS = frozenset({"group", "groups", "notGroups"})


def _subject(subject: Document, served: Served, call: Call) -> bool:
    """Whether a caller is the subject: everything that is said of it is so."""
    properties = subject.get("properties", {})
    only_http = _HTTP_ONLY_FIELDS & set(subject) or [
        each for each in properties if each.startswith("request.") or each == "source.user"
    ]
    if only_http and not call.http:
        return False
    parts = [_property(key, [value], served, call) for key, value in properties.items()]
    for name, key in (
        ("names", "source.principal"),
        ("groups", GROUPS),
        ("namespaces", "source.namespace"),
        ("ips", "source.ip"),
    ):
        if subject.get(name):
            parts.append(_property(key, subject[name], served, call))
        denied = subject.get(f"not{name.capitalize()}")
        if denied:
            parts.append(not _property(key, denied, served, call))
    if subject.get("user"):
        parts.append(_property("source.principal", [subject["user"]], served, call))
    if subject.get("group"):
        parts.append(_property(GROUPS, [subject["group"]], served, call))
    return bool(parts) and all(parts)


def _property(key: str, values: Sequence[str], served: Served, call: Call) -> bool:
    return any(_property_value(key, each, served, call) for each in values)


def _property_value(key: str, value: str, served: Served, call: Call) -> bool:
    claims = call.claims or {}
    start, *inner = key.replace("]", "").split("[")
    if key == "source.ip":
        return _in_block(value, call.source_ip)
    if key in {"source.principal", "source.user"}:
        return _is_identity(key, value, served, call)
    if key == "source.namespace":
        return bool(call.principal) and text_fits(value, call.principal.split("/")[2])
    if start == "request.headers":
        return _is_header(inner[0], value, call)
    if key == "request.auth.principal":
        known = "iss" in claims and "sub" in claims
        return text_fits(value, f"{claims['iss']}/{claims['sub']}" if known else None)
    claim = {"request.auth.audiences": "aud", "request.auth.presenter": "azp"}.get(key)
    return any(text_fits(value, each) for each in _words(claims.get(claim or inner[0])))


def _is_header(name: str, value: str, call: Call) -> bool:
    """One of the lines of a header that comes several times is enough."""
    return any(text_fits(value, text) for key, text in call.headers if key.lower() == name.lower())


def _is_identity(key: str, value: str, served: Served, call: Call) -> bool:
    """`*` and `allUsers` are everybody, identified or not.

    Whole identities of one trust domain of the mesh are those of all of them.
    """
    if key == "source.principal" and value in {"*", "allUsers"}:
        return True
    pattern = "*" if value == "allAuthenticatedUsers" else value
    domain, *rest = pattern.split("/")
    same = [domain]
    if len(rest) == 4 and domain in served.trust_domains:
        same = [*served.trust_domains]
    return any(text_fits("/".join((each, *rest)), call.principal or None) for each in same)


def _words(value: Any) -> Sequence[str]:
    """A claim's texts: each word of one, or each of a list."""
    if isinstance(value, str):
        return value.split()
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _in_block(block: str, address: str) -> bool:
    return ip_address(address) in ip_network(block, strict=False)
