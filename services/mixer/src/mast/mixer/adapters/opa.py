"""Adapter ``opa``: policies in Rego decide (mixer.md G.1)."""

from __future__ import annotations

import re
from typing import Any, Final

import structlog
from regopy import Bundle, Interpreter, LogLevel, RegoError  # type: ignore[import-untyped]

from istio.mixer.adapter.opa.config.config_pb2 import Params
from mast.mixer.adapters.stdio import shown
from mast.mixer.core.adapter import Adapter, AdapterError, CheckResult, HandlerConfig, Instance
from mast.mixer.core.engine import Status

log = structlog.get_logger()

REJECTED: Final = CheckResult(Status(7, "opa: request was rejected"))
_METHOD: Final = re.compile(r"data(\.[A-Za-z_]\w*)+")
_ANSWER: Final = "answer"


class Opa:
    """Policies, compiled once. Answers are never cached: they have no validity."""

    def __init__(self, params: Params) -> None:
        """AdapterError if policies do not compile; with ``fail_close`` everything is denied."""
        self._fail_close = params.fail_close
        self._interpreter = Interpreter()
        self._interpreter.log_level = LogLevel.NONE
        self._policies: Bundle | None = None
        try:
            self._policies = _compiled(self._interpreter, params)
        except AdapterError as error:
            if not params.fail_close:
                raise
            log.error("opa.policies_refused", error=str(error), consequence="all is denied")

    def check(self, instance: Instance) -> CheckResult:
        """Denied if the rule is false; allowed, or denied to fail closed, if it is no boolean."""
        verdict = None if self._policies is None else self._verdict(self._policies, instance)
        if verdict is None:
            return REJECTED if self._fail_close else CheckResult()
        return CheckResult() if verdict else REJECTED

    def _verdict(self, policies: Bundle, instance: Instance) -> bool | None:
        try:
            self._interpreter.set_input(asked(instance))
            results = self._interpreter.query_bundle(policies).results
        except (RegoError, ValueError) as error:
            log.warning("opa.evaluation_failed", instance=instance.name, error=str(error))
            return None
        found = results[0].bindings.get(_ANSWER) if results else None
        return found if isinstance(found, bool) else None


def _compiled(interpreter: Interpreter, params: Params) -> Bundle:
    if not _METHOD.fullmatch(params.check_method):
        raise AdapterError(f"opa: check_method {params.check_method!r}: want data.PACKAGE.RULE")
    if not params.policy:
        raise AdapterError("opa: policy: at least one is needed")
    try:
        for number, policy in enumerate(params.policy):
            interpreter.add_module(f"policy-{number}.rego", policy)
        return interpreter.build(f"{_ANSWER} = {params.check_method}")
    except RegoError as error:
        raise AdapterError(f"opa: policy: {error}") from error


def asked(instance: Instance) -> dict[str, Any]:
    """The input of policies; ``groups``, one string in the template, are parted at commas."""
    subject, action = instance.fields["subject"], instance.fields["action"]
    return {
        "subject": {
            "user": subject["user"],
            "groups": [each.strip() for each in subject["groups"].split(",") if each.strip()],
            "properties": _shown(subject["properties"]),
        },
        "action": {
            "namespace": action["namespace"],
            "service": action["service"],
            "method": action["method"],
            "path": action["path"],
            "properties": _shown(action["properties"]),
        },
    }


def _shown(properties: Any) -> dict[str, Any]:
    return {name: shown(value) for name, value in sorted(properties.items())}


def _build(config: HandlerConfig) -> Opa:
    return Opa(config.params)


ADAPTER: Final = Adapter(
    name="opa", templates=frozenset({"authorization"}), defaults=Params(), build=_build
)
