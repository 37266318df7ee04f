"""The kernel's packet filter, through the iptables programs: read, compare, apply, take away (C4).

Synchronous: it is used by commands that end before anything else begins.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import structlog

from mast.agent.core.capture import Capture, Family, Rule, guard_rules, rules
from mast.agent.core.restore import (
    OWN,
    Dump,
    dump,
    ip_commands,
    is_clean,
    removal_input,
    restore_input,
    structure_differences,
)

log = structlog.get_logger()

_LOCK = ("-w", "30")
_SECONDS = 60
_ALREADY = ("File exists", "already assigned")


class Failed(Exception):
    """A program of iptables or iproute2 failed; says which and what it complained about."""


class State(Enum):
    """What is there compared with what is wanted."""

    NONE = "none"
    EQUAL = "equal"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Comparison:
    """The state of one family; ``differences`` explain DIFFERENT."""

    state: State
    differences: tuple[str, ...] = ()


def detect_backend() -> str:
    """``legacy`` only where it has rules already, else ``nft``, else what ``iptables`` is ("").

    Rules of both backends at once would capture once, but nobody could read them (C3.5).
    """
    if shutil.which("iptables-legacy-save"):
        listed = _run(["iptables-legacy-save"])
        if any(line.startswith("-A ") for line in listed.splitlines()):
            return "legacy"
    return "nft" if shutil.which("iptables-nft-restore") else ""


@dataclass(frozen=True)
class Netfilter:
    """One backend's rules in the current network namespace."""

    backend: str

    def dump(self, family: Family) -> Dump:
        """The rules of all tables."""
        return dump(_run([self._program(family, "save")]))

    def compare(self, capture: Capture, family: Family) -> Comparison:
        """Our chains against the wanted rules; the order of rules is not seen (C4)."""
        found = self.dump(family)
        wanted = rules(capture, family)
        if is_clean(found) and not any(
            self._present(rule, family) for rule in wanted if not rule.own
        ):
            return Comparison(State.NONE)
        differences = list(structure_differences(found, wanted))
        if not differences:
            differences = [
                f"{rule.table}: {rule.chain} lacks {' '.join(rule.words)}"
                for rule in wanted
                if not self._present(rule, family)
            ]
        if differences:
            return Comparison(State.DIFFERENT, tuple(differences))
        return Comparison(State.EQUAL)

    def apply(self, capture: Capture, family: Family) -> None:
        """Add every rule, policy routes and, for IPv6, the proxy's source address."""
        self._restore(restore_input(rules(capture, family)), family)
        for command in ip_commands(capture, family, "add"):
            _run(command, tolerate=_ALREADY)

    def clean(self, capture: Capture, family: Family) -> None:
        """Take everything of ours away, guards too; what is not there is fine."""
        self._restore(removal_input(self.dump(family)), family)
        self._remove_others(capture, family)

    def reconcile(self, capture: Capture, family: Family) -> None:
        """Replace what is there by what is wanted; meanwhile nothing passes uncaptured (C4)."""
        self._restore(removal_input(self.dump(family).of_table("filter")), family)
        self._restore(restore_input(guard_rules()), family)
        self._restore(removal_input(self.dump(family).without_table("filter")), family)
        self._remove_others(capture, family)
        self.apply(capture, family)
        self._restore(removal_input(self.dump(family).of_table("filter")), family)

    def _remove_others(self, capture: Capture, family: Family) -> None:
        """Rules in built-in chains that lead into no chain of ours; routes; the address."""
        for rule in rules(capture, family):
            if not rule.own and not rule.target.startswith(OWN):
                while self._present(rule, family):
                    _run(self._command("-D", rule, family))
        for command in ip_commands(capture, family, "del"):
            while _succeeds(command):
                log.debug("capture.ip_removed", command=" ".join(command))

    def _present(self, rule: Rule, family: Family) -> bool:
        return _succeeds(self._command("-C", rule, family))

    def _command(self, action: str, rule: Rule, family: Family) -> list[str]:
        program = self._program(family)
        return [program, *_LOCK, "-t", rule.table, action, rule.chain, *rule.words]

    def _restore(self, text: str, family: Family) -> None:
        if text:
            _run([self._program(family, "restore"), "--noflush", *_LOCK], text)

    def _program(self, family: Family, kind: str = "") -> str:
        parts = ["iptables" if family == 4 else "ip6tables", self.backend, kind]
        return "-".join(part for part in parts if part)


def _run(command: Sequence[str], text: str = "", *, tolerate: Sequence[str] = ()) -> str:
    """The program's output. Raises Failed, unless the complaint has one of the ``tolerate``."""
    try:
        result = subprocess.run(  # noqa: S603 - fixed programs, checked arguments
            list(command), input=text, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]}: {error}") from error
    if result.returncode and not any(each in result.stderr for each in tolerate):
        raise Failed(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


def _succeeds(command: Sequence[str]) -> bool:
    try:
        _run(command)
    except Failed:
        return False
    return True
