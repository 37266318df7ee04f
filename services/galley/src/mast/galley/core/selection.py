"""Which objects a List or Watch is about: kinds, a namespace, a label selector."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mast.common.keys import CONFIG, ConfigKey, collection_prefix
from mast.common.kinds import KINDS, Kind, named
from mast.galley.core.metadata import label_key, label_value

_REQUIREMENT = re.compile(r"\s*([^\s=!,]+)\s*(==|=|!=)\s*([^\s=!,]*)\s*")
_EXISTS = re.compile(r"\s*(!?)\s*([^\s=!,]+)\s*")


class BadSelection(ValueError):
    """The request asks for something that cannot exist; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label; ``value`` None asks whether it exists."""

    key: str
    value: str | None
    equal: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        """An absent label differs from every value (Kubernetes)."""
        if self.value is None:
            return (self.key in labels) is self.equal
        return (labels.get(self.key) == self.value) is self.equal


@dataclass(frozen=True, slots=True)
class Selection:
    """Kinds (all if empty), a namespace (all if empty) and conditions that must all hold."""

    kinds: tuple[Kind, ...]
    namespace: str
    requirements: tuple[Requirement, ...]

    @property
    def prefix(self) -> str:
        """The narrowest key prefix that holds everything selected."""
        if len(self.kinds) != 1:
            return CONFIG
        (kind,) = self.kinds
        if kind.cluster_scoped or not self.namespace:
            return collection_prefix(kind.collection)
        return collection_prefix(kind.collection, self.namespace)

    def matches_key(self, key: ConfigKey, kind: Kind) -> bool:
        """Whether an object is of a selected kind and namespace.

        One without a namespace belongs to every namespace, if its kind is asked for by name.
        """
        if self.kinds and kind.cluster_scoped:
            return kind in self.kinds
        of_kind = not self.kinds or kind in self.kinds
        return of_kind and self.namespace in {"", key.namespace}

    def matches_labels(self, labels: Mapping[str, str]) -> bool:
        """Whether an object's labels fulfil the selector."""
        return all(requirement.matches(labels) for requirement in self.requirements)


def selection(kinds: Sequence[str], namespace: str, label_selector: str) -> Selection:
    """A selection from a request; BadSelection names an unknown kind or a malformed selector."""
    found = kinds_named(kinds)
    apart = [kind.name for kind in found if kind.sealed]
    if apart and len(found) > 1:
        raise BadSelection(f"kinds: {apart[0]} is kept apart from other kinds; ask for it alone")
    return Selection(tuple(found), namespace, tuple(_requirements(label_selector)))


def kinds_named(texts: Sequence[str]) -> list[Kind]:
    """The kinds that a request names, each once; BadSelection tells one that does not exist."""
    found: list[Kind] = []
    for text in texts:
        meant = named(text)
        if not meant:
            known = ", ".join(sorted({kind.name for kind in KINDS}))
            raise BadSelection(f"kinds: unknown kind {text!r}; allowed: {known}")
        found += [kind for kind in meant if kind not in found]
    return found


def _requirements(text: str) -> list[Requirement]:
    found = []
    for part in text.split(",") if text.strip() else []:
        if match := _REQUIREMENT.fullmatch(part):
            key, operator, value = match.groups()
            found.append(Requirement(key, value, operator != "!="))
        elif match := _EXISTS.fullmatch(part):
            found.append(Requirement(match[2], None, not match[1]))
        else:
            raise BadSelection(
                f"label_selector: {part.strip()!r} is not key=value, key!=value, key or !key"
            )
        key_complaint = label_key(found[-1].key)
        value_complaint = label_value(found[-1].value or "")
        if complaint := key_complaint or value_complaint:
            raise BadSelection(f"label_selector: {complaint}")
    return found
