"""Native nftables, through ``nft``: read, compare, replace, take away (citadel-and-agent.md C6).

Synchronous, as the programs of iptables are: it is used by commands that end before anything else
begins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mast.agent.core.capture import Capture, Family
from mast.agent.core.comparison import Comparison, State
from mast.agent.core.nftables import (
    FAMILY,
    SCRATCH,
    Table,
    differences,
    listed,
    own,
    replacement,
    scratch,
    tables,
)
from mast.agent.store.programs import run

BACKEND = "nftables"


@dataclass(frozen=True)
class Nftables:
    """The rules for one capture of some IP versions in the current network namespace."""

    capture: Capture
    families: Sequence[Family]

    @property
    def facts(self) -> Mapping[str, object]:
        """What logs say of these rules."""
        return {"backend": BACKEND, "families": list(self.families)}

    def plan(self) -> str:
        """What would be done, as input of ``nft -f``."""
        return f"# nft -f -\n{replacement(self._wanted, ())}"

    def compare(self) -> Comparison:
        """What is there against the wanted rules, their order included."""
        found = {name: table for name, table in self._found().items() if SCRATCH not in name}
        if not found:
            return Comparison(State.NONE)
        told = differences(found, self._wanted, self._shown())
        return Comparison(State.DIFFERENT, told) if told else Comparison(State.EQUAL)

    def apply(self) -> None:
        """Make the rules what is wanted, in one transaction: nothing passes in between."""
        _nft("-f", "-", text=replacement(self._wanted, self._found()))

    def reconcile(self) -> None:
        """The same: a transaction needs no guard."""
        self.apply()

    def clean(self) -> None:
        """Take every table of ours away; what is not there is fine."""
        if found := self._found():
            _nft("-f", "-", text=replacement((), found))

    @property
    def _wanted(self) -> tuple[Table, ...]:
        return tables(self.capture, self.families)

    def _found(self) -> Mapping[str, Table]:
        words = (line.split() for line in _nft("list", "tables").splitlines())
        names = own(line[2] for line in words if line[:2] == ["table", FAMILY])
        return _listed(sorted(names))

    def _shown(self) -> Mapping[str, Table]:
        """What the wanted rules look like once the kernel has them."""
        trial = scratch(self._wanted)
        names = [table.name for table in trial]
        _nft("-f", "-", text=replacement(trial, ()))
        try:
            return _listed(names)
        finally:
            _nft("-f", "-", text=replacement((), names))


def _listed(names: Sequence[str]) -> Mapping[str, Table]:
    return listed("\n".join(_nft("-s", "-y", "list", "table", FAMILY, name) for name in names))


def _nft(*arguments: str, text: str = "") -> str:
    return run(["nft", *arguments], text)
