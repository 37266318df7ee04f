"""What services found out about stored objects, put together from what each replica publishes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from google.protobuf.message import DecodeError

from mast.common.keys import STATUS_CONFIG, STATUS_MIXER, ConfigKey
from mastapi.galley.v1 import config_pb2
from mastapi.status.v1.status_pb2 import ConfigStatus, MixerStatus

PREFIXES = (STATUS_CONFIG, STATUS_MIXER)
"""Where Pilot's replicas write, and Mixer's."""


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
        with suppress(DecodeError):
            if key.startswith(STATUS_MIXER):
                mixer = MixerStatus.FromString(value)
                yield from ((f"mixer/{mixer.replica}", each) for each in mixer.objects)
            else:
                status = ConfigStatus.FromString(value)
                yield f"pilot/{status.pilot}", status
