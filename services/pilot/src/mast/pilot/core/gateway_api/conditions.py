"""What an object's status says (Gateway API, "conditions"): values; who writes them adds times."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

CONTROLLER: Final = "istio.io/gateway-controller"
"""Name of the controller that Mast stands in for."""


class Type(StrEnum):
    """Types of conditions."""

    ACCEPTED = "Accepted"
    PROGRAMMED = "Programmed"
    RESOLVED_REFS = "ResolvedRefs"
    CONFLICTED = "Conflicted"
    PARTIALLY_INVALID = "PartiallyInvalid"


class Reason(StrEnum):
    """Reasons of conditions, as the API names them."""

    ACCEPTED = "Accepted"
    ADDRESS_NOT_USABLE = "AddressNotUsable"
    BACKEND_NOT_FOUND = "BackendNotFound"
    CONFLICTED = "Conflicted"
    HOSTNAME_CONFLICT = "HostnameConflict"
    INVALID = "Invalid"
    INVALID_CA_CERTIFICATE_REF = "InvalidCACertificateRef"
    INVALID_CERTIFICATE_REF = "InvalidCertificateRef"
    INVALID_KIND = "InvalidKind"
    INVALID_ROUTE_KINDS = "InvalidRouteKinds"
    LISTENERS_NOT_VALID = "ListenersNotValid"
    NO_CONFLICTS = "NoConflicts"
    NO_MATCHING_LISTENER_HOSTNAME = "NoMatchingListenerHostname"
    NO_MATCHING_PARENT = "NoMatchingParent"
    NO_VALID_CA_CERTIFICATE = "NoValidCACertificate"
    NOT_ALLOWED_BY_LISTENERS = "NotAllowedByListeners"
    PROGRAMMED = "Programmed"
    PROTOCOL_CONFLICT = "ProtocolConflict"
    REF_NOT_PERMITTED = "RefNotPermitted"
    RESOLVED_REFS = "ResolvedRefs"
    TARGET_NOT_FOUND = "TargetNotFound"
    UNSUPPORTED_PROTOCOL = "UnsupportedProtocol"
    UNSUPPORTED_VALUE = "UnsupportedValue"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not hold, and what a person should read about it."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a status; `status` tells whether the type holds."""

    type: Type
    status: bool
    reason: Reason
    message: str = ""


def condition(kind: Type, good: Reason, problems: Sequence[Problem] = ()) -> Condition:
    """A condition that holds, for the reason `good`, unless the first of some problems says why."""
    if not problems:
        return Condition(kind, True, good)
    messages = "; ".join(dict.fromkeys(each.message for each in problems))
    return Condition(kind, False, problems[0].reason, messages)
