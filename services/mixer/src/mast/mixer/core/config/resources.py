"""Objects that describe templates and adapters out of process (mixer.md D2, G10)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from mast.mixer.core.config.entry import Entry, Problem
from mast.mixer.core.config.names import candidates
from mast.mixer.core.dynamic import (
    BadDescriptor,
    DynamicAdapter,
    DynamicTemplate,
    dynamic_template,
    params_message,
)

TEMPLATE, ADAPTER = "template", "adapter"


def dynamic_templates(
    entries: Iterable[Entry],
) -> tuple[dict[str, DynamicTemplate], list[Problem]]:
    """The templates that objects describe, by FQN, and what is wrong with the others."""
    found: dict[str, DynamicTemplate] = {}
    problems = []
    for entry in entries:
        try:
            found[entry.fqn] = dynamic_template(entry.fqn, str(_spec(entry).get("descriptor", "")))
        except BadDescriptor as error:
            problems.append(Problem(entry.fqn, "descriptor", str(error)))
    return found, problems


def dynamic_adapters(
    entries: Iterable[Entry], templates: Mapping[str, DynamicTemplate]
) -> tuple[dict[str, DynamicAdapter], list[Problem]]:
    """The adapters that objects describe, by FQN; templates that there are not are left out."""
    found: dict[str, DynamicAdapter] = {}
    problems = []
    for entry in entries:
        spec = _spec(entry)
        taken: dict[str, DynamicTemplate] = {}
        for index, name in enumerate(_names(spec.get("templates"))):
            names = candidates(name, TEMPLATE, entry.namespace)
            known = [each for each in names if each in templates]
            taken.update({each: templates[each] for each in known[:1]})
            if not known:
                text = f"template '{name}' not found"
                problems.append(Problem(entry.fqn, f"templates[{index}]", text))
        try:
            params = params_message(str(spec.get("config", "")))
        except BadDescriptor as error:
            problems.append(Problem(entry.fqn, "config", str(error)))
            continue
        session = spec.get("session_based", spec.get("sessionBased", False)) is True
        found[entry.fqn] = DynamicAdapter(entry.fqn, taken, params, session, _digest(spec, taken))
    return found, problems


def _spec(entry: Entry) -> dict[str, Any]:
    return MessageToDict(entry.spec) if isinstance(entry.spec, Struct) else {}


def _names(given: object) -> Sequence[str]:
    return [str(each) for each in given] if isinstance(given, list) else []


def _digest(spec: Mapping[str, Any], templates: Mapping[str, DynamicTemplate]) -> str:
    """Changes with what the adapter is and the descriptors of its templates."""
    parts = [json.dumps(spec, sort_keys=True)]
    parts += [
        each.service.request.DESCRIPTOR.file.serialized_pb.hex() for each in templates.values()
    ]
    return sha256("\n".join(parts).encode()).hexdigest()
