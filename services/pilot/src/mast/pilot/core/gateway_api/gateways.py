"""Gateways of Gateway API: an Istio Gateway per listener, and what their status says (I8)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from istio.networking.v1alpha3.gateway_pb2 import Gateway, Port, Server, ServerTLSSettings
from istio.networking.v1alpha3.virtual_service_pb2 import (
    HTTPDirectResponse,
    HTTPRoute,
    VirtualService,
)
from mast.pilot.core.gateway_api import generated
from mast.pilot.core.gateway_api.conditions import (
    CONTROLLER,
    Condition,
    Problem,
    Reason,
    Type,
    condition,
)
from mast.pilot.core.gateway_api.listeners import (
    EVERY_HOST,
    GatewayView,
    ListenerView,
    fitting_kinds,
)
from mast.pilot.core.gateway_api.references import permitted
from mast.pilot.core.gateway_api.sight import GATEWAY_API, Name, Sight
from mast.pilot.core.model import collection_names, hosts
from mast.pilot.core.model.model import Config, ConfigMeta, Labels, Service, Visibility
from mastapi.kubernetes.v1.gateway_pb2 import (
    FrontendTLSValidation,
    GatewaySpec,
    Listener,
    ListenerTLSConfig,
)

OWN_CLASSES: Final = ("istio", "mast")
"""Classes that are ours without a GatewayClass that says so."""

GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
"""Label of the proxies that a Gateway was deployed for, with its name."""

TERMINATE_MODE: Final = "gateway.istio.io/tls-terminate-mode"
"""Option of a listener's TLS: how clients are verified."""

_CREDENTIAL: Final = "kubernetes-gateway://{}/{}"
_CONFIG_MAP: Final = "configmap://{}/{}"
_ISOLATED: Final = "isolated"
_NOT_FOUND: Final = 404
_LAST: Final = 1 << 63
"""Younger than any object: of catch-alls of one host, that of the oldest counts (pilot.md F8)."""
_SECURE: Final = frozenset({"HTTPS", "TLS"})
_MODES: Final[Mapping[str, ServerTLSSettings.TLSmode.ValueType]] = {
    "SIMPLE": ServerTLSSettings.SIMPLE,
    "MUTUAL": ServerTLSSettings.MUTUAL,
    "OPTIONAL_MUTUAL": ServerTLSSettings.OPTIONAL_MUTUAL,
    "ISTIO_MUTUAL": ServerTLSSettings.ISTIO_MUTUAL,
}


@dataclass(frozen=True, slots=True)
class TranslatedGateway:
    """The Istio Gateways of a Gateway, and what routes and its status see of it."""

    configs: tuple[Config[Gateway] | Config[VirtualService], ...]
    view: GatewayView


@dataclass(frozen=True, slots=True)
class _Tls:
    """How a listener ends TLS, None if it cannot; while it `waits`, no certificate is there."""

    settings: ServerTLSSettings | None
    problems: Sequence[Problem] = ()
    waits: bool = False


@dataclass(frozen=True, slots=True)
class _Served:
    """Which proxies serve a Gateway: labels within a namespace; `problems` if none can."""

    namespace: str
    selector: Labels
    addresses: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def is_ours(sight: Sight, class_name: str) -> bool:
    """Whether Gateways of a class are served: our controller, or a name that stands for it."""
    found = sight.object(collection_names.GATEWAY_CLASSES, ("", class_name))
    if found is not None:
        return bool(found.spec.controller_name == CONTROLLER)
    return class_name in OWN_CLASSES


def translated_gateway(sight: Sight, config: Config[GatewaySpec]) -> TranslatedGateway | None:
    """A Gateway in Istio's terms, None if its class is not ours (pilot.md I8)."""
    if not is_ours(sight, config.spec.gateway_class_name):
        return None
    served = _served(sight, config)
    conflicts = dict(_conflicts(config.spec.listeners))
    configs: list[Config[Gateway] | Config[VirtualService]] = []
    views = []
    for listener in config.spec.listeners:
        made = _listener(sight, config, listener, served, conflicts.get(listener.name))
        views.append(made[0])
        configs += made[1]
    configs += (_isolated(config.meta, each) for each in views if _is_narrower(each, views))
    view = GatewayView(
        meta=config.meta,
        listeners=tuple(views),
        conditions=tuple(_conditions(views, served)),
        addresses=served.addresses,
    )
    return TranslatedGateway(tuple(configs), view)


def _is_narrower(view: ListenerView, views: Sequence[ListenerView]) -> bool:
    return any(each.gateway and each.yields_to(view) for each in views)


def _isolated(meta: ConfigMeta, view: ListenerView) -> Config[VirtualService]:
    """What a listener has no routes for is not found, whatever a wider one has (isolation)."""
    answer = HTTPRoute(name=_ISOLATED, direct_response=HTTPDirectResponse(status=_NOT_FOUND))
    spec = VirtualService(hosts=[view.host], gateways=[view.gateway], http=[answer])
    name = generated.stream_name(meta.name, _ISOLATED, view.listener.name)
    return generated.virtual_service(meta, name, spec, created=_LAST)


def _conditions(views: Sequence[ListenerView], served: _Served) -> Iterator[Condition]:
    bad = [each for each in views if any(not one.status for one in each.conditions[:1])]
    wrong = [
        Problem(Reason.LISTENERS_NOT_VALID, f"listener {each.listener.name!r} is not valid")
        for each in bad
    ]
    if wrong and len(bad) < len(views):
        yield Condition(Type.ACCEPTED, True, Reason.LISTENERS_NOT_VALID, wrong[0].message)
    else:
        yield condition(Type.ACCEPTED, Reason.ACCEPTED, wrong)
    programmed = list(served.problems)
    if not any(each.gateway for each in views):
        programmed.append(Problem(Reason.INVALID, "no listener is served"))
    yield condition(Type.PROGRAMMED, Reason.PROGRAMMED, programmed)


def _served(sight: Sight, config: Config[GatewaySpec]) -> _Served:
    """Proxies that were deployed for the Gateway, or those behind the Service it names."""
    meta = config.meta
    if not config.spec.addresses:
        return _Served(meta.namespace, {GATEWAY_NAME: meta.name}, _deployed(sight, config))
    value = config.spec.addresses[0].value
    name = _service_name(value, meta.namespace, sight.domain)
    service = sight.kubernetes_service(name) if name else None
    if service is None or not service.selector:
        why = "there is no such Service" if service is None else "the Service has no selector"
        problem = Problem(Reason.ADDRESS_NOT_USABLE, f"address {value!r}: {why}")
        return _Served(meta.namespace, {}, (), (problem,))
    return _Served(service.namespace, service.selector, _reached(service))


def _deployed(sight: Sight, config: Config[GatewaySpec]) -> tuple[str, ...]:
    """Where proxies deployed for a Gateway are reached: by the Service that is named after it.

    As Istio's own deployments have it `GATEWAY-CLASS`, or just `GATEWAY`.
    """
    meta = config.meta
    for name in (f"{meta.name}-{config.spec.gateway_class_name}", meta.name):
        service = sight.kubernetes_service((meta.namespace, name))
        if service is not None and service.selector.get(GATEWAY_NAME) == meta.name:
            return _reached(service)
    return ()


def _reached(service: Service) -> tuple[str, ...]:
    """Addresses for others than the mesh, without any its host."""
    return service.external_addresses or (service.host,)


def _service_name(address: str, namespace: str, domain: str) -> Name | None:
    """Namespace and name of the Service that a Hostname address means, in its short forms too."""
    full = hosts.expand(address, namespace, domain)
    parts = full.removesuffix(f".svc.{domain}").removesuffix(".svc").split(".")
    return (parts[1], parts[0]) if len(parts) == 2 else None


def _conflicts(listeners: Sequence[Listener]) -> Iterator[tuple[str, Problem]]:
    """Listeners that cannot be told apart, by name: each of them is refused."""
    claims = Counter((each.port, each.protocol, each.hostname.lower()) for each in listeners)
    kinds: dict[int, set[bool | None]] = {}
    for each in listeners:
        kinds.setdefault(each.port, set()).add(_carriage(each))
    for each in listeners:
        if claims[each.port, each.protocol, each.hostname.lower()] > 1:
            message = f"listener {each.name!r}: another one has the same port, protocol and host"
            yield each.name, Problem(Reason.HOSTNAME_CONFLICT, message)
        elif len(kinds[each.port]) > 1:
            message = f"listener {each.name!r}: port {each.port} has listeners of other protocols"
            yield each.name, Problem(Reason.PROTOCOL_CONFLICT, message)


def _carriage(listener: Listener) -> bool | None:
    """What must agree on a port: TLS, plain HTTP, or plain bytes."""
    return None if listener.protocol == "TCP" else listener.protocol in _SECURE


def _listener(
    sight: Sight,
    config: Config[GatewaySpec],
    listener: Listener,
    served: _Served,
    conflict: Problem | None,
) -> tuple[ListenerView, list[Config[Gateway]]]:
    fitting = fitting_kinds(listener)
    kinds, kind_problems = _kinds(listener, fitting)
    tls = _tls(sight, config, listener)
    unfit = [] if fitting else [_unsupported(listener)]
    sound = not unfit and conflict is None and not served.problems
    usable = sound and tls.settings is not None
    conflicts = [conflict] if conflict else []
    name = generated.gateway_name(config.meta.name, listener.name)
    view = ListenerView(
        listener=listener,
        gateway=f"{config.meta.namespace}/{name}" if usable else "",
        kinds=kinds,
        conditions=(
            condition(Type.ACCEPTED, Reason.ACCEPTED, unfit or conflicts),
            _conflicted(conflict),
            condition(Type.PROGRAMMED, Reason.PROGRAMMED, _unprogrammed(usable and not tls.waits)),
            condition(Type.RESOLVED_REFS, Reason.RESOLVED_REFS, [*kind_problems, *tls.problems]),
        ),
        problems=(*unfit, *conflicts),
    )
    if tls.settings is None or not usable:
        return view, []
    spec = Gateway(servers=[_server(listener, tls.settings)], selector=served.selector)
    only = Visibility(False, frozenset({served.namespace}))
    return view, [generated.gateway(config.meta, config.meta.namespace, name, spec, only)]


def _unprogrammed(usable: bool) -> Sequence[Problem]:
    return [] if usable else [Problem(Reason.INVALID, "the listener is not served")]


def _unsupported(listener: Listener) -> Problem:
    message = f"listener {listener.name!r}: protocol {listener.protocol!r} is not supported"
    return Problem(Reason.UNSUPPORTED_PROTOCOL, message)


def _conflicted(conflict: Problem | None) -> Condition:
    if conflict is None:
        return Condition(Type.CONFLICTED, False, Reason.NO_CONFLICTS)
    return Condition(Type.CONFLICTED, True, conflict.reason, conflict.message)


def _kinds(listener: Listener, fitting: Sequence[str]) -> tuple[tuple[str, ...], Sequence[Problem]]:
    """Kinds of routes that may attach, and the kinds asked for that cannot (supportedKinds)."""
    asked = listener.allowed_routes.kinds
    if not asked:
        return tuple(fitting), []
    good = [each.kind for each in asked if _is_kind(each.group) and each.kind in fitting]
    bad = [each.kind for each in asked if not _is_kind(each.group) or each.kind not in fitting]
    messages = (f"listener {listener.name!r}: it cannot take routes of kind {each}" for each in bad)
    problems = [Problem(Reason.INVALID_ROUTE_KINDS, each) for each in messages]
    return tuple(dict.fromkeys(good)), problems


def _is_kind(group: str) -> bool:
    return group in ("", GATEWAY_API)


def _server(listener: Listener, tls: ServerTLSSettings) -> Server:
    server = Server(
        name=listener.name,
        port=Port(number=listener.port, protocol=listener.protocol, name=listener.name),
        hosts=[listener.hostname or EVERY_HOST],
    )
    if listener.protocol in _SECURE:
        server.tls.CopyFrom(tls)
    return server


def _tls(sight: Sight, config: Config[GatewaySpec], listener: Listener) -> _Tls:
    """A certificate that it may not use does not take the others away (pilot.md I5).

    One that does not exist is waited for: it may come later.
    """
    settings = ServerTLSSettings()
    given = listener.tls
    if listener.protocol not in _SECURE or given.mode == "Passthrough":
        return _Tls(settings)
    mode = given.options.get(TERMINATE_MODE, "SIMPLE")
    settings.mode = _MODES.get(mode, ServerTLSSettings.SIMPLE)
    if settings.mode == ServerTLSSettings.ISTIO_MUTUAL:
        return _Tls(settings)
    names, problems = _credentials(sight, config.meta, given)
    flaws = {name: flaw for name in names if (flaw := sight.certificate_flaw(name))}
    problems += (_flawed(*each) for each in flaws.items())
    unverifiable = _verification(sight, config, listener, settings)
    credentials = [_CREDENTIAL.format(*name) for name in names]
    if len(credentials) == 1:
        settings.credential_name = credentials[0]
    else:
        settings.credential_names.extend(credentials)
    usable = credentials and not unverifiable
    waits = len(flaws) == len(names)
    return _Tls(settings if usable else None, [*problems, *unverifiable], waits)


def _flawed(name: Name, flaw: str) -> Problem:
    return Problem(Reason.INVALID_CERTIFICATE_REF, f"Secret {name[0]}/{name[1]}: {flaw}")


def _credentials(
    sight: Sight, meta: ConfigMeta, tls: ListenerTLSConfig
) -> tuple[list[Name], list[Problem]]:
    """Secrets with certificates that the Gateway may use (pilot.md C, I5)."""
    found: list[Name] = []
    problems = []
    for each in tls.certificate_refs:
        namespace = each.namespace or meta.namespace
        if (each.group, each.kind or "Secret") != ("", "Secret"):
            message = f"certificate {each.name!r}: {each.kind} cannot hold one; allowed: Secret"
            problems.append(Problem(Reason.INVALID_CERTIFICATE_REF, message))
        elif not _may_read(sight, meta, "Secret", namespace, each.name):
            problems.append(_forbidden("Secret", namespace, each.name))
        else:
            found.append((namespace, each.name))
    return found, problems


def _may_read(sight: Sight, meta: ConfigMeta, kind: str, namespace: str, name: str) -> bool:
    source = (GATEWAY_API, "Gateway", meta.namespace)
    return permitted(sight, source, ("", kind, namespace, name))


def _forbidden(kind: str, namespace: str, name: str) -> Problem:
    message = f"{kind} {namespace}/{name}: no ReferenceGrant lets the Gateway refer to it"
    return Problem(Reason.REF_NOT_PERMITTED, message)


def _verification(
    sight: Sight, config: Config[GatewaySpec], listener: Listener, settings: ServerTLSSettings
) -> list[Problem]:
    """What clients' certificates are judged by; without it being readable nobody is let in."""
    validation = _validation(config.spec, listener)
    if not validation.ca_certificate_refs:
        return []
    optional = validation.mode == "AllowInsecureFallback"
    settings.mode = ServerTLSSettings.OPTIONAL_MUTUAL if optional else ServerTLSSettings.MUTUAL
    reference = validation.ca_certificate_refs[0]
    namespace = reference.namespace or config.meta.namespace
    if not _may_read(sight, config.meta, reference.kind, namespace, reference.name):
        return [_forbidden(reference.kind, namespace, reference.name)]
    form = _CONFIG_MAP if reference.kind == "ConfigMap" else _CREDENTIAL
    settings.ca_cert_credential_name = form.format(namespace, reference.name)
    return []


def _validation(spec: GatewaySpec, listener: Listener) -> FrontendTLSValidation:
    """Settings of the listener, else of its port, else of the Gateway; for HTTPS listeners."""
    if listener.tls.HasField("frontend_validation"):
        return listener.tls.frontend_validation
    if listener.protocol != "HTTPS":
        return FrontendTLSValidation()
    frontend = spec.tls.frontend
    for each in frontend.per_port:
        if each.port == listener.port:
            return each.tls.validation
    return frontend.default.validation
