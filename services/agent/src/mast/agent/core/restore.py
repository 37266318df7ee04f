"""Rules as iptables-restore reads them, dumps as iptables-save writes them, and how they differ."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from mast.agent.core.capture import PROXY_SOURCE, Capture, Family, Rule

OWN: Final = "ISTIO_"


@dataclass(frozen=True)
class Dump:
    """What iptables-save shows: rules (the words after ``-A CHAIN``) by table and chain."""

    chains: Mapping[tuple[str, str], tuple[str, ...]]

    @property
    def own_chains(self) -> frozenset[tuple[str, str]]:
        """Our chains, as (table, chain)."""
        return frozenset(each for each in self.chains if each[1].startswith(OWN))

    def of_table(self, name: str) -> "Dump":
        """The part of one table."""
        return Dump({key: rules for key, rules in self.chains.items() if key[0] == name})

    def without_table(self, name: str) -> "Dump":
        """The part of all other tables."""
        return Dump({key: rules for key, rules in self.chains.items() if key[0] != name})

    def jumps(self, table: str, chain: str) -> tuple[str, ...]:
        """Rules of a built-in chain that lead into our chains."""
        rules = self.chains.get((table, chain), ())
        return tuple(rule for rule in rules if f"-j {OWN}" in rule)

    @property
    def foreign_jumps(self) -> tuple[tuple[str, str, str], ...]:
        """Every jump from a chain that is not ours into one of ours: (table, chain, words)."""
        return tuple(
            (table, chain, rule)
            for table, chain in sorted(self.chains)
            if not chain.startswith(OWN)
            for rule in self.jumps(table, chain)
        )


def dump(text: str) -> Dump:
    """Read the output of iptables-save."""
    chains: dict[tuple[str, str], list[str]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            chains.setdefault((table, line[1:].split()[0]), [])
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            chains.setdefault((table, chain), []).append(rule)
    return Dump({key: tuple(rules) for key, rules in chains.items()})


def restore_input(rules: Iterable[Rule]) -> str:
    """The input of ``iptables-restore --noflush`` that makes the chains and adds the rules.

    Chains are made with ``-N``, which fails if one is there already: nothing is applied on top.
    """
    lines: list[str] = []
    for table, group in _by_table(rules):
        lines.append(f"*{table}")
        chains = dict.fromkeys(name for rule in group for name in (rule.chain, rule.target))
        lines += [f"-N {chain}" for chain in chains if chain.startswith(OWN)]
        lines += [_line(rule) for rule in group]
        lines.append("COMMIT")
    return "\n".join([*lines, ""]) if lines else ""


def _by_table(rules: Iterable[Rule]) -> list[tuple[str, list[Rule]]]:
    ordered = sorted(rules, key=lambda rule: rule.table)
    return [(table, list(group)) for table, group in groupby(ordered, key=lambda rule: rule.table)]


def _line(rule: Rule) -> str:
    if rule.position:
        return " ".join(["-I", rule.chain, str(rule.position), *rule.words])
    return " ".join(["-A", rule.chain, *rule.words])


def structure_differences(found: Dump, wanted: Sequence[Rule]) -> tuple[str, ...]:
    """How the chains of a dump differ from those of the rules; the rules themselves by ``-C``.

    Compared are which chains of ours exist, how many rules each has, and how many jumps lead
    into them from built-in chains. The order of rules is not seen (C4).
    """
    counts: dict[tuple[str, str], int] = {}
    jumps: dict[tuple[str, str], int] = {}
    for rule in wanted:
        key = (rule.table, rule.chain)
        if rule.own:
            counts[key] = counts.get(key, 0) + 1
        elif rule.target.startswith(OWN):
            jumps[key] = jumps.get(key, 0) + 1
        if rule.target.startswith(OWN):
            counts.setdefault((rule.table, rule.target), 0)
    differences = [
        f"{table}: chain {chain} has {len(found.chains.get((table, chain), ()))} rules, want {want}"
        for (table, chain), want in sorted(counts.items())
        if len(found.chains.get((table, chain), ())) != want or (table, chain) not in found.chains
    ]
    differences += [
        f"{table}: chain {chain} is not wanted"
        for table, chain in sorted(found.own_chains - counts.keys())
    ]
    built_in = {key for key in found.chains if not key[1].startswith(OWN)} | jumps.keys()
    for table, chain in sorted(built_in):
        have, want = len(found.jumps(table, chain)), jumps.get((table, chain), 0)
        if have != want:
            differences.append(f"{table}: {chain} has {have} jumps into our chains, want {want}")
    return tuple(differences)


def is_clean(found: Dump) -> bool:
    """Nothing of ours is there."""
    return not found.own_chains and not found.foreign_jumps


def removal_input(found: Dump) -> str:
    """The input of ``iptables-restore --noflush`` that takes away our jumps and chains."""
    lines: list[str] = []
    touched = found.own_chains | {(table, chain) for table, chain, _ in found.foreign_jumps}
    for table in sorted({table for table, _ in touched}):
        lines.append(f"*{table}")
        lines += [f"-D {chain} {rule}" for own, chain, rule in found.foreign_jumps if own == table]
        chains = sorted(chain for own, chain in found.own_chains if own == table)
        lines += [f"-F {chain}" for chain in chains]
        lines += [f"-X {chain}" for chain in chains]
        lines.append("COMMIT")
    return "\n".join([*lines, ""]) if lines else ""


def ip_commands(capture: Capture, family: Family, action: str) -> tuple[tuple[str, ...], ...]:
    """What ``ip`` must ``add`` or ``del`` beside the rules: TPROXY's policy route, and for IPv6
    the proxy's source address, which has no network of its own on lo (C2, C5).
    """
    commands: list[tuple[str, ...]] = []
    if capture.tproxy:
        inet = ("ip", "-f", "inet" if family == 4 else "inet6")
        everything = "0.0.0.0/0" if family == 4 else "::/0"
        table = ("table", capture.route_table)
        commands.append((*inet, "rule", action, "fwmark", capture.mark, "lookup", table[1]))
        commands.append((*inet, "route", action, "local", everything, "dev", "lo", *table))
    if family == 6:
        commands.append(("ip", "-6", "addr", action, PROXY_SOURCE[6], "dev", "lo"))
    return tuple(commands)
