"""BackendTLSPolicies: how clients verify a service that speaks TLS (Gateway API; pilot.md I8)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from istio.networking.v1alpha3.destination_rule_pb2 import (
    ClientTLSSettings,
    DestinationRule,
)
from mast.common.credentials import credential
from mast.pilot.core.gateway_api import generated
from mast.pilot.core.gateway_api.conditions import (
    Condition,
    Problem,
    Reason,
    Type,
    condition,
)
from mast.pilot.core.gateway_api.sight import Name, Sight
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config, ConfigMeta, Service
from mastapi.kubernetes.v1.gateway_pb2 import BackendTLSPolicySpec

_CONFIG_MAP: Final = "configmap://{}/{}"


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """What came of one target of a policy."""

    policy: ConfigMeta
    section: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class TranslatedPolicies:
    """The DestinationRule of a Service's policies, None without any that holds."""

    target: Name
    config: Config[DestinationRule] | None
    statuses: tuple[PolicyStatus, ...]


def targets(config: Config[BackendTLSPolicySpec]) -> set[Name]:
    """Namespaces and names of the Services that a policy is for."""
    return {(config.meta.namespace, each.name) for each in config.spec.target_refs}


def translated_policies(
    sight: Sight, target: Name, policies: Sequence[Config[BackendTLSPolicySpec]]
) -> TranslatedPolicies:
    """The policies of one Service: per port the oldest that names it, else the oldest without port.

    A later one for the same port, or for the whole Service, is in conflict and does not count. One
    whose roots are not there counts: nobody gets through until they are.
    """
    service = sight.kubernetes_service(target)
    chosen: dict[str, Config[BackendTLSPolicySpec]] = {}
    statuses = []
    for section, config in _claims(target, policies):
        problem = _problem(target, service, section, section in chosen)
        if problem is None:
            chosen[section] = config
        missing = list(_missing_roots(sight, config))
        problems = (
            [problem]
            if problem
            else [Problem(Reason.NO_VALID_CA_CERTIFICATE, each.message) for each in missing]
        )
        accepted = condition(Type.ACCEPTED, Reason.ACCEPTED, problems)
        resolved = condition(Type.RESOLVED_REFS, Reason.RESOLVED_REFS, missing)
        statuses.append(PolicyStatus(config.meta, section, (accepted, resolved)))
    made = _rule(sight, target, service, chosen) if service and chosen else None
    return TranslatedPolicies(target, made, tuple(statuses))


def _claims(
    target: Name, policies: Sequence[Config[BackendTLSPolicySpec]]
) -> Iterator[tuple[str, Config[BackendTLSPolicySpec]]]:
    """Ports that policies claim by name, "" for all, the oldest first."""
    for config in sorted(policies, key=lambda each: each.age):
        for each in config.spec.target_refs:
            if each.name == target[1]:
                yield each.section_name, config


def _problem(target: Name, service: Service | None, section: str, taken: bool) -> Problem | None:
    shown = f"Service {target[0]}/{target[1]}"
    if service is None:
        return Problem(Reason.TARGET_NOT_FOUND, f"{shown} does not exist")
    if section and section not in {each.name for each in service.ports}:
        return Problem(Reason.TARGET_NOT_FOUND, f"{shown} has no port {section!r}")
    if taken:
        where = f"port {section!r} of {shown}" if section else shown
        return Problem(Reason.CONFLICTED, f"an older policy is for {where}")
    return None


def _missing_roots(sight: Sight, config: Config[BackendTLSPolicySpec]) -> Iterator[Problem]:
    """References to roots that cannot be followed."""
    for each in config.spec.validation.ca_certificate_refs[:1]:
        name = (config.meta.namespace, each.name)
        found = sight.object(collection_names.CONFIG_MAPS, name)
        if found is None or credential(found.spec.data).roots is None:
            message = f"ConfigMap {name[0]}/{name[1]}: it does not exist, or holds no ca.crt"
            yield Problem(Reason.INVALID_CA_CERTIFICATE_REF, message)


def _rule(
    sight: Sight,
    target: Name,
    service: Service,
    chosen: dict[str, Config[BackendTLSPolicySpec]],
) -> Config[DestinationRule]:
    spec = DestinationRule(host=sight.host(target))
    oldest = min(chosen.values(), key=lambda each: each.age)
    if "" in chosen:
        spec.traffic_policy.tls.CopyFrom(_settings(chosen[""]))
    for port in service.ports:
        if port.name in chosen and port.name:
            settings = spec.traffic_policy.port_level_settings.add()
            settings.port.number = port.number
            settings.tls.CopyFrom(_settings(chosen[port.name]))
    return generated.destination_rule(oldest.meta, generated.policy_name(target[1]), spec)


def _settings(config: Config[BackendTLSPolicySpec]) -> ClientTLSSettings:
    """TLS that asks for the host and verifies its certificate (pilot.md G5).

    Without a reference the certificates of the machine count (`wellKnownCACertificates: System`).
    """
    validation = config.spec.validation
    settings = ClientTLSSettings(
        mode=ClientTLSSettings.SIMPLE,
        sni=validation.hostname,
        subject_alt_names=[each.hostname or each.uri for each in validation.subject_alt_names],
    )
    if not settings.subject_alt_names:
        settings.subject_alt_names.append(validation.hostname)
    for each in validation.ca_certificate_refs[:1]:
        settings.credential_name = _CONFIG_MAP.format(config.meta.namespace, each.name)
    return settings
