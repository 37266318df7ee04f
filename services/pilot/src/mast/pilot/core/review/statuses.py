"""Findings sorted by the object they are about, as they are published (pilot.md N10, N25)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from mast.common.keys import config_status_key
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.finding import Fault, Finding, ObjectName
from mast.pilot.core.model.index import Index
from mastapi.status.v1 import status_pb2 as status

UNPUBLISHED = frozenset({Fault.NO_INSTANCES, Fault.NOT_READY, Fault.NO_WORKLOAD})
"""What comes and goes with endpoints: counted and listed, but no property of an object."""


def config_statuses(
    findings: Iterable[Finding], index: Index, replica: str
) -> Mapping[str, status.ConfigStatus]:
    """What is published under `status/config/`, by key; findings of nobody's object are not."""
    by_object: dict[ObjectName, list[Finding]] = defaultdict(list)
    for each in findings:
        if each.subject is not None and each.fault not in UNPUBLISHED:
            by_object[each.subject].append(each)
    return {
        config_status_key(*name, replica): status.ConfigStatus(
            object=_named(name),
            version=_version(name, index),
            pilot=replica,
            findings=map(_message, sorted(found, key=lambda each: each.order)),
        )
        for name, found in by_object.items()
    }


def _message(finding: Finding) -> status.Finding:
    made = status.Finding(fault=finding.fault, key=finding.key, message=finding.message)
    if finding.winner is not None:
        made.winner.CopyFrom(_named(finding.winner))
    return made


def _named(name: ObjectName) -> status.ObjectName:
    return status.ObjectName(collection=name.collection, namespace=name.namespace, name=name.name)


def _version(name: ObjectName, index: Index) -> str:
    if name.collection == collection_names.PLATFORM_SERVICES:
        return ""
    found = index.configs.get((name.collection, name.namespace), ())
    return next((each.meta.version for each in found if each.meta.name == name.name), "")
