"""Label and field selectors of listings and watches ("Labels and Selectors", "Field Selectors")."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mast.common.kubernetes.objects import (
    CERTIFICATE_SIGNING_REQUESTS,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    Object,
    Resource,
)
from tests.fakes.kubernetes.kinds import EVENTS, JOBS, REPLICA_SETS
from tests.fakes.kubernetes.status import bad_request

# What can be selected by beside name and namespace; anything else is refused.
FIELDS: Mapping[Resource, frozenset[str]] = {
    PODS: frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        }
    ),
    SECRETS: frozenset({"type"}),
    NAMESPACES: frozenset({"status.phase"}),
    NODES: frozenset({"spec.unschedulable"}),
    EVENTS: frozenset(
        {
            *(
                f"involvedObject.{each}"
                for each in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion")
            ),
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        }
    ),
    REPLICA_SETS: frozenset({"status.replicas"}),
    JOBS: frozenset({"status.successful"}),
    CERTIFICATE_SIGNING_REQUESTS: frozenset({"spec.signerName"}),
}
_ALWAYS = frozenset({"metadata.name", "metadata.namespace"})
# Values that an object has before anybody says so.
_UNSAID = {"spec.unschedulable": "false", "spec.hostNetwork": "false"}

_KEY = re.compile(r"([a-z0-9A-Z.-]+/)?[a-zA-Z0-9]([\w.-]*[a-zA-Z0-9])?")


def selector(resource: Resource, labels: str, fields: str) -> Callable[[Object], bool]:
    """Whether an object is selected by label and field selectors; 400 for what is none."""
    by_label = [_label_term(term) for term in _terms(labels)]
    by_field = [_field_term(resource, term) for term in _terms(fields)]

    def selects(found: Object) -> bool:
        values = found["metadata"].get("labels") or {}
        return all(term(values) for term in by_label) and all(term(found) for term in by_field)

    return selects


def _terms(text: str) -> list[str]:
    terms, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            terms.append(text[start:position])
            start = position + 1
    return [term.strip() for term in (*terms, text[start:]) if term.strip()]


def _label_term(term: str) -> Callable[[Mapping[str, str]], bool]:
    words = term.replace("(", " ( ").split(None, 2)
    if len(words) == 3 and words[1] in {"in", "notin"}:
        key, allowed = _key(words[0]), {v.strip() for v in words[2].strip(" ()").split(",")}
        if words[1] == "in":
            return lambda labels: labels.get(key) in allowed
        return lambda labels: labels.get(key) not in allowed
    for operator, equal in (("!=", False), ("==", True), ("=", True)):
        if operator in term:
            name, value = (part.strip() for part in term.split(operator, 1))
            _key(name)
            return lambda labels: (labels.get(name) == value) is equal
    if term.startswith("!"):
        absent = _key(term[1:].strip())
        return lambda labels: absent not in labels
    _key(term)
    return lambda labels: term in labels


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise bad_request(f"unable to parse requirement: <nil>: Invalid value: {text!r}")
    return text


def _field_term(resource: Resource, term: str) -> Callable[[Object], bool]:
    equal = "!=" not in term
    if "=" not in term:
        raise bad_request(f"invalid selector: {term!r}; can't understand {term!r}")
    path, value = (part.strip("= ") for part in term.split("=" if equal else "!=", 1))
    if path not in _ALWAYS | FIELDS.get(resource, frozenset()):
        group = f"{resource.group}/{resource.version}".lstrip("/")
        raise bad_request(
            f'Unable to find "{group}, Resource={resource.plural}" that match label selector "",'
            f' field selector "{term}": field label not supported: {path}'
        )

    def matches(found: Object) -> bool:
        place: Any = found
        for part in path.split("."):
            place = place.get(part, "") if isinstance(place, dict) else ""
        text = str(place).lower() if isinstance(place, bool) else str(place)
        return ((text or _UNSAID.get(path, "")) == value) is equal

    return matches
