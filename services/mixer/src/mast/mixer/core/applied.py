"""What is in force and what is wrong with the rest, as operators are told (mixer.md D7, I)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from mast.common.keys import CONFIG, ConfigKey, parse_config_key
from mast.common.kinds import BY_GROUP_KIND, LEGACY_ADAPTERS
from mast.mixer.core.config.entry import Problem
from mast.mixer.core.config.resources import ADAPTER, TEMPLATE
from mast.mixer.core.config.snapshot import HANDLER, RULE, Snapshot
from mastapi.status.v1.status_pb2 import ConfigStatus, MixerStatus

ROOM_BYTES: Final = 512 << 10
"""For objects in a status; etcd takes values of up to 1.5 MiB."""
LONGEST_TEXT: Final = 1000

_GROUP: Final = "config.istio.io"


@dataclass(frozen=True, slots=True)
class Applied:
    """A snapshot in force.

    ``handlers`` are those that were built, ``failures`` why others were not, by FQN (D9).
    """

    snapshot: Snapshot
    handlers: int
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> Sequence[Problem]:
        """All that is wrong, in the order in which it was found."""
        built = [Problem(fqn, "", text) for fqn, text in self.failures.items()]
        return [*self.snapshot.problems, *built]


def mixer_status(
    applied: Applied,
    *,
    replica: str,
    version: str,
    role: str,
    since: datetime,
    room: int = ROOM_BYTES,
) -> MixerStatus:
    """What a replica publishes of a configuration in force ``since`` then.

    Objects for which there is no ``room``, in bytes, are counted.
    """
    status = MixerStatus(
        replica=replica,
        version=version,
        role=role,
        snapshot=applied.snapshot.id,
        revision=applied.snapshot.revision,
        rules=len(applied.snapshot.rules),
        handlers=applied.handlers,
    )
    status.since.FromDatetime(since)
    for each in _objects(applied):
        room -= each.ByteSize()
        if room < 0:
            status.untold += 1
        else:
            status.objects.append(each)
    return status


def _objects(applied: Applied) -> Iterator[ConfigStatus]:
    """What is wrong, by object; what is of no object is in the log only."""
    by_object: dict[ConfigKey, list[tuple[Problem, str]]] = defaultdict(list)
    for problem in applied.problems:
        key = _named(problem.resource)
        if key is not None:
            by_object[key].append((problem, fault(problem, applied.failures)))
    for key, found in sorted(by_object.items()):
        generation = applied.snapshot.generations.get(found[0][0].resource, "")
        made = ConfigStatus(version=generation)
        made.object.collection = key.collection
        made.object.namespace = key.namespace
        made.object.name = key.name
        for problem, name in found:
            made.findings.add(fault=name, key=problem.field, message=problem.text[:LONGEST_TEXT])
        yield made


def _named(resource: str) -> ConfigKey | None:
    """The object of an FQN, or of a key whose value cannot be read."""
    if "/" in resource:
        with suppress(ValueError):
            return parse_config_key(resource)
        return None
    name, kind, namespace = resource.rsplit(".", 2)
    return ConfigKey(BY_GROUP_KIND[_GROUP, kind].collection, namespace, name)


def fault(problem: Problem, failures: Mapping[str, str]) -> str:
    """The metric that counts problems of this sort (mixer.md I)."""
    if problem.resource.startswith(CONFIG):
        return "mixer_config_unreadable_total"
    kind = problem.resource.rsplit(".", 2)[1]
    if kind == RULE:
        if problem.field == "match":
            return "mixer_config_rule_config_match_error_total"
        if problem.text.startswith("Handler not found"):
            return "mixer_config_unsatisfied_action_handler_total"
        return "mixer_config_rule_config_errors_total"
    if kind == HANDLER or kind in LEGACY_ADAPTERS:
        if failures.get(problem.resource) == problem.text:
            return "mixer_handler_handler_build_failures_total"
        return "mixer_config_handler_validation_error_total"
    return _BY_KIND.get(kind, "mixer_config_instance_config_errors_total")


_BY_KIND: Final[Mapping[str, str]] = {
    ADAPTER: "mixer_config_adapter_info_config_errors_total",
    TEMPLATE: "mixer_config_template_config_errors_total",
}
