"""What Galley accepts of objects that may be wrong: they are mended until it does."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseError

from mast.common.kinds import Kind
from mast.galley.core.judge import Judgement, judge, read
from mast.galley.core.objects import ConfigObject, Defaults
from mast.galley.core.problem import Path, errors
from mast.galley.core.resources import resource
from mastapi.galley.v1 import config_pb2
from tests.support.mesh_yaml import Put

_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_ROUNDS = 60
_STEP = re.compile(r'\.?([A-Za-z0-9_/-]+)|\[(\d+)\]|\["(.*?)"\](?=[.\[]|$)', re.DOTALL)


@dataclass(frozen=True)
class Candidate:
    """An object as a user might write it; the specification is JSON."""

    kind: Kind
    namespace: str
    name: str
    spec: Mapping[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind.name} {self.namespace}/{self.name}"

    def document(self) -> dict[str, Any]:
        """The object as JSON."""
        metadata = {
            "name": self.name,
            "namespace": self.namespace,
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
        }
        return {
            "apiVersion": self.kind.api_version,
            "kind": self.kind.name,
            "metadata": metadata,
            "spec": deepcopy(dict(self.spec)),
        }


def accepted(candidates: Iterable[Candidate]) -> list[ConfigObject]:
    """The candidates that Galley accepts, each without the parts that it finds wrong.

    Of several of one name the first counts.
    """
    found: dict[str, ConfigObject] = {}
    for each in candidates:
        if (obj := _mended(each.document())) is not None:
            found.setdefault(obj.key, obj)
    return list(found.values())


def document(obj: ConfigObject) -> dict[str, Any]:
    """An accepted object as a user would write it."""
    meta = obj.meta
    written = Candidate(
        obj.kind,
        meta.namespace,
        meta.name,
        MessageToDict(obj.spec),
        meta.labels,
        meta.annotations,
    )
    return written.document()


def stored(objects: Iterable[ConfigObject]) -> Iterator[Put]:
    """The objects as Galley stores them; the first is the oldest."""
    for age, obj in enumerate(objects):
        content = resource(obj, 1, _EPOCH + timedelta(hours=age))
        yield Put(obj.key, content.SerializeToString())


def complaints(candidate: Candidate) -> Sequence[str]:
    """Why Galley refuses a candidate as it is, nothing if it does not."""
    return [str(each) for each in errors(_judged(candidate.document()).problems)]


def _judged(document: dict[str, Any]) -> Judgement:
    message = config_pb2.Object(api_version=document["apiVersion"], kind=document["kind"])
    metadata = document["metadata"]
    message.metadata.name, message.metadata.namespace = metadata["name"], metadata["namespace"]
    for key in ("labels", "annotations"):
        getattr(message.metadata, key).update(metadata[key])
    with suppress(ParseError):
        message.spec.update(document["spec"])
    return judge(read((), [message], Defaults()))


def _mended(document: dict[str, Any]) -> ConfigObject | None:
    """The object without the parts that are wrong, None if there is none without these."""
    for _ in range(_ROUNDS):
        judged = _judged(document)
        wrong = errors(judged.problems)
        if not wrong:
            return judged.objects[0]
        paths = {_path(each.path) for each in wrong}
        # Later items of a list first: the places of the others stay what they are.
        changed = [_drop(document, path) for path in sorted(paths, key=str, reverse=True)]
        if not any(changed):
            return None
    return None


def _path(text: str) -> Path:
    found: list[str | int] = []
    for match in _STEP.finditer(text):
        plain, index, quoted = match.groups()
        found.append(int(index) if index else plain if plain is not None else quoted)
    return tuple(found)


def _drop(document: Any, path: Path) -> bool:
    """Take away what a path leads to, or what is nearest above it; false if that is everything."""
    chain = [document]
    for step in path:
        try:
            chain.append(chain[-1][step])
        except (KeyError, IndexError, TypeError):
            break
    depth = len(chain) - 1
    # What is asked for at the end of a path is missing: what lacks it has to go.
    if depth < 2 or path[:2] in {("metadata", "name"), ("metadata", "namespace")}:
        return False
    del chain[depth - 1][path[depth - 1]]
    return True
