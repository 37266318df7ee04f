"""Envoy's log lines as events of our own (citadel-and-agent.md B5, `application_log_config`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

_LEVELS = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "critical": "error",
    "off": "info",
}


@dataclass(frozen=True)
class LogLine:
    """One line: our level for it, and its facts."""

    level: str
    facts: Mapping[str, str] = field(default_factory=dict)


def log_line(text: str) -> LogLine:
    """Read a line of Envoy's stdout or stderr; what is no JSON log entry stays one fact."""
    if text.startswith("{"):
        try:
            entry = json.loads(text)
        except json.JSONDecodeError:
            return LogLine("info", {"line": text})
        if isinstance(entry, dict) and "message" in entry and "logger" in entry:
            facts = {name: str(entry[name]) for name in ("logger", "message", "source", "thread")
                     if name in entry}  # fmt: skip
            return LogLine(_LEVELS.get(str(entry.get("level")), "info"), facts)
    return LogLine("info", {"line": text})
