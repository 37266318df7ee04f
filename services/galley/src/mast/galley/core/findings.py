"""What services found out about stored objects, put together from what each replica publishes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from google.protobuf.message import DecodeError

from mast.common.keys import STATUS_CONFIG, STATUS_GATEWAYS, STATUS_MIXER, ConfigKey
from mastapi.galley.v1 import config_pb2
from mastapi.status.v1.status_pb2 import ConfigStatus, Finding, MixerStatus, ObjectStatus

PREFIXES = (STATUS_CONFIG, STATUS_GATEWAYS, STATUS_MIXER)
"""Where Pilot's replicas write, the leading one of them, and Mixer's."""

BAD_NEWS = frozenset({"Conflicted", "Detached", "OverlappingTLSConfig", "PartiallyInvalid"})
"""Conditions that are bad news if they hold; others are if they do not."""


Findings = Mapping[ConfigKey, Sequence[config_pb2.ObjectFinding]]
"""By object."""


def findings(statuses: Mapping[str, bytes]) -> Findings:
    """Out of statuses by key: what several replicas say is one finding of all of them.

    A value that cannot be read is of a newer service, and says nothing.
    """
    found: dict[ConfigKey, dict[tuple[str, str, str], config_pb2.ObjectFinding]]
    found = defaultdict(dict)
    for reporter, status in _told(statuses):
        where = status.object
        key = ConfigKey(where.collection, where.namespace, where.name)
        for each in status.findings:
            made = found[key].setdefault(
                (each.fault, each.key, each.message),
                config_pb2.ObjectFinding(fault=each.fault, key=each.key, message=each.message),
            )
            made.reporters.append(reporter)
    return {key: list(each.values()) for key, each in found.items()}


def _told(statuses: Mapping[str, bytes]) -> Iterator[tuple[str, ConfigStatus]]:
    """Who says what, by key."""
    for key, value in sorted(statuses.items()):
        with suppress(DecodeError, ValueError):
            if key.startswith(STATUS_GATEWAYS):
                yield "pilot", _conditions(ObjectStatus.FromString(value))
            elif key.startswith(STATUS_MIXER):
                mixer = MixerStatus.FromString(value)
                yield from ((f"mixer/{mixer.replica}", each) for each in mixer.objects)
            else:
                status = ConfigStatus.FromString(value)
                yield f"pilot/{status.pilot}", status


def _conditions(told: ObjectStatus) -> ConfigStatus:
    """Conditions that are bad news, each a finding about the object or a part of it."""
    status = json.loads(told.status)
    parts = [
        ("", status),
        *((f"listener {each['name']}", each) for each in status.get("listeners", ())),
        *((_where(each["parentRef"]), each) for each in status.get("parents", ())),
        *((_where(each["ancestorRef"]), each) for each in status.get("ancestors", ())),
    ]
    return ConfigStatus(
        object=told.object,
        findings=[
            Finding(
                fault=each["type"],
                key=part,
                message=f"{each['reason']}: {each['message']}"
                if each["message"]
                else each["reason"],
            )
            for part, content in parts
            for each in content.get("conditions", ())
            if each["status"] == ("True" if each["type"] in BAD_NEWS else "False")
        ],
    )


def _where(reference: Mapping[str, str]) -> str:
    """A parent or an ancestor: `Gateway NAMESPACE/NAME SECTION`, as far as it is told."""
    name = "/".join(reference[each] for each in ("namespace", "name") if reference.get(each))
    section = reference.get("sectionName", "")
    return f"{reference.get('kind') or 'Gateway'} {name} {section}".rstrip()
