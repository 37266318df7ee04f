"""The kernel's packet filter, through the iptables programs: read, compare, apply, take away (C4).

Synchronous: it is used by commands that end before anything else begins.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from mast.agent.core.capture import Capture, Family, Rule, guard_rules, rules
from mast.agent.core.comparison import Comparison, State
from mast.agent.core.restore import (
    OWN,
    Dump,
    dump,
    is_clean,
    removal_input,
    restore_input,
    structure_differences,
)
from mast.agent.store.programs import run, succeeds

log = structlog.get_logger()

BACKENDS: Mapping[str, str] = {"iptables": "", "iptables-nft": "nft", "iptables-legacy": "legacy"}
"""Backends by the program that has them (``FORCE_IPTABLES_BINARY``)."""

_LOCK = ("-w", "30")


def chosen_backend(forced: str) -> str:
    """The backend of a program that was asked for; empty asks for what suits this machine.

    Raises ValueError that names the programs there are.
    """
    if forced and forced not in BACKENDS:
        raise ValueError(f"FORCE_IPTABLES_BINARY {forced!r}: want {', '.join(BACKENDS)}")
    return BACKENDS[forced] if forced else detect_backend()


def detect_backend() -> str:
    """``legacy`` only where it has rules already, else ``nft``, else what ``iptables`` is ("").

    Rules of both backends at once would capture once, but nobody could read them (C3.5).
    """
    if shutil.which("iptables-legacy-save"):
        listed = run(["iptables-legacy-save"])
        if any(line.startswith("-A ") for line in listed.splitlines()):
            return "legacy"
    return "nft" if shutil.which("iptables-nft-restore") else ""


@dataclass(frozen=True)
class Netfilter:
    """The rules for one capture of one IP version, in one backend of the network namespace."""

    backend: str
    capture: Capture
    family: Family

    @property
    def facts(self) -> Mapping[str, object]:
        """What logs say of these rules."""
        return {"backend": self.backend, "family": self.family}

    def plan(self) -> str:
        """What would be done, as input of iptables-restore."""
        return f"# {self._program('restore')} --noflush\n{restore_input(self._wanted)}"

    def compare(self) -> Comparison:
        """Our chains against the wanted rules; the order of rules is not seen (C4)."""
        found, wanted = self._dump(), self._wanted
        if is_clean(found) and not any(self._present(rule) for rule in wanted if not rule.own):
            return Comparison(State.NONE)
        differences = list(structure_differences(found, wanted))
        if not differences:
            differences = [
                f"{rule.table}: {rule.chain} lacks {' '.join(rule.words)}"
                for rule in wanted
                if not self._present(rule)
            ]
        if differences:
            return Comparison(State.DIFFERENT, tuple(differences))
        return Comparison(State.EQUAL)

    def apply(self) -> None:
        """Add every rule."""
        self._restore(restore_input(self._wanted))

    def clean(self) -> None:
        """Take everything of ours away, guards too; what is not there is fine."""
        self._restore(removal_input(self._dump()))
        self._remove_others()

    def reconcile(self) -> None:
        """Replace what is there by what is wanted; meanwhile nothing passes uncaptured (C4)."""
        self._restore(removal_input(self._dump().of_table("filter")))
        self._restore(restore_input(guard_rules()))
        self._restore(removal_input(self._dump().without_table("filter")))
        self._remove_others()
        self.apply()
        self._restore(removal_input(self._dump().of_table("filter")))

    @property
    def _wanted(self) -> tuple[Rule, ...]:
        return rules(self.capture, self.family)

    def _dump(self) -> Dump:
        """The rules of all tables."""
        return dump(run([self._program("save")]))

    def _remove_others(self) -> None:
        """Rules in built-in chains that lead into no chain of ours.

        They are deleted until that fails: ``-C`` of ip6tables-legacy takes one owner for another.
        """
        for rule in self._wanted:
            if not rule.own and not rule.target.startswith(OWN):
                while succeeds(self._command("-D", rule)):
                    log.debug("capture.rule_removed", chain=rule.chain, words=rule.words)

    def _present(self, rule: Rule) -> bool:
        return succeeds(self._command("-C", rule))

    def _command(self, action: str, rule: Rule) -> list[str]:
        return [self._program(), *_LOCK, "-t", rule.table, action, rule.chain, *rule.words]

    def _restore(self, text: str) -> None:
        if text:
            run([self._program("restore"), "--noflush", *_LOCK], text)

    def _program(self, kind: str = "") -> str:
        parts = ["iptables" if self.family == 4 else "ip6tables", self.backend, kind]
        return "-".join(part for part in parts if part)
