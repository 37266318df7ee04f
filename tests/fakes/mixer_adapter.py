"""An adapter that does what its params say, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from mast.common.expressions.types import ValueType
from mast.mixer.core.adapter import (
    Adapter,
    AdapterError,
    Batch,
    CheckResult,
    DirectResponse,
    HandlerConfig,
    Instance,
    QuotaArguments,
    QuotaResult,
)
from mast.mixer.core.engine import Status
from mast.mixer.core.templates import TEMPLATES, Record, Template, Variety
from mast.mixer.core.values import Value

# A template with check output, of which Mixer has compiled in none (A29).
KEYVAL = Template(
    "keyval",
    Variety.CHECK_WITH_OUTPUT,
    Record({}),
    {"value": ValueType.STRING, "empty": ValueType.STRING},
)


@dataclass
class Script:
    """A handler. Params: code, message, seconds, uses, body, headers, output, generated,
    granted, errors (texts of a report), error (AdapterError), panic (any other exception), look
    (read maps as a whole)."""

    params: Mapping[str, Any]
    checked: list[Instance] = field(default_factory=list)
    asked: list[tuple[Instance, QuotaArguments]] = field(default_factory=list)
    reported: list[Sequence[Batch]] = field(default_factory=list)
    generated: list[Instance] = field(default_factory=list)
    generation: object = 0

    def _fail(self) -> None:
        if "error" in self.params:
            raise AdapterError(self.params["error"])
        if "panic" in self.params:
            raise RuntimeError(self.params["panic"])

    def check(self, instance: Instance) -> CheckResult:
        self.checked.append(instance)
        if "look" in self.params:
            [dict(value) for value in instance.fields.values() if isinstance(value, Mapping)]
        self._fail()
        get = self.params.get
        direct = None
        if "headers" in self.params or "body" in self.params:
            direct = DirectResponse(int(get("http", 0)), get("body", ""), get("headers", {}))
        return CheckResult(
            Status(int(get("code", 0)), get("message", "")),
            timedelta(seconds=get("seconds", 0)),
            int(get("uses", 0)),
            direct,
            get("output", {}),
        )

    def quota(self, instance: Instance, arguments: QuotaArguments) -> QuotaResult:
        self.asked.append((instance, arguments))
        self._fail()
        granted = int(self.params.get("granted", 0))
        return QuotaResult(granted, timedelta(seconds=self.params.get("seconds", 0)))

    def report(self, batches: Sequence[Batch]) -> Sequence[str]:
        self.reported.append(batches)
        self._fail()
        errors: Sequence[str] = self.params.get("errors", ())
        return errors

    def generate(self, instance: Instance) -> Mapping[str, Value]:
        self.generated.append(instance)
        self._fail()
        generated: Mapping[str, Value] = self.params.get("generated", {})
        return generated


def adapter(name: str = "script") -> Adapter:
    """The adapter; it takes every template."""

    def build(config: HandlerConfig) -> Script:
        params = MessageToDict(config.params)
        if "build_error" in params:
            raise AdapterError(params["build_error"])
        if "build_panic" in params:
            raise RuntimeError(params["build_panic"])
        return Script(params)

    return Adapter(name, frozenset({*TEMPLATES, KEYVAL.name}), Struct(), build)
