"""The rules of traffic capture as native nftables has them (citadel-and-agent.md C6).

They are those of iptables, word by word: what is captured is decided in one place. A table of the
family ``inet`` holds both IP versions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mast.agent.core.capture import Capture, Family, Rule, rules

FAMILY: Final = "inet"
TABLES: Final[Mapping[str, str]] = {
    "nat": "istio-proxy-nat",
    "mangle": "istio-proxy-mangle",
    "raw": "istio-proxy-raw",
}
"""Our tables by the one of iptables whose rules they hold."""

SCRATCH: Final = "-wanted"
"""What the name of a table ends with that never sees a packet (see ``scratch``)."""

_HOOKS: Final[Mapping[tuple[str, str], str]] = {
    ("nat", "prerouting"): "type nat hook prerouting priority -100; policy accept;",
    ("nat", "output"): "type nat hook output priority -100; policy accept;",
    ("mangle", "prerouting"): "type filter hook prerouting priority -150; policy accept;",
    ("mangle", "output"): "type route hook output priority -150; policy accept;",
    ("raw", "prerouting"): "type filter hook prerouting priority -300; policy accept;",
    ("raw", "output"): "type filter hook output priority -300; policy accept;",
}

Chains = Mapping[str, Sequence[str]]
"""The lines of each chain: first the hook of a base chain, then the rules in order."""


@dataclass(frozen=True)
class Table:
    """One table by its name in nftables."""

    name: str
    chains: Chains

    def text(self) -> str:
        """The table as ``nft -f`` reads it."""
        lines = [f"table {FAMILY} {self.name} {{"]
        for chain, content in self.chains.items():
            lines += [f"\tchain {chain} {{", *(f"\t\t{line}" for line in content), "\t}"]
        return "\n".join([*lines, "}", ""])


def tables(capture: Capture, families: Sequence[Family]) -> tuple[Table, ...]:
    """Every table that has rules for these IP versions; others are let through untouched."""
    wanted = {family: _ordered(rules(capture, family)) for family in families}
    every = [rule for found in wanted.values() for rule in found]
    return tuple(
        Table(name, _chains(kind, wanted))
        for kind, name in TABLES.items()
        if any(rule.table == kind for rule in every)
    )


def _ordered(found: Iterable[Rule]) -> tuple[Rule, ...]:
    """In the order in which packets meet them: those with a position are inserted in front."""
    return tuple(sorted(found, key=lambda rule: (not rule.position, rule.position)))


def _chains(kind: str, wanted: Mapping[Family, Sequence[Rule]]) -> Chains:
    own = {family: [r for r in found if r.table == kind] for family, found in wanted.items()}
    every = [rule for found in own.values() for rule in found]
    names = dict.fromkeys(
        each for rule in every for each in (rule.chain, rule.target) if _is_chain(each)
    )
    chains = {}
    for chain in sorted(names, key=lambda each: (kind, chain_name(each)) not in _HOOKS):
        name = chain_name(chain)
        hook = _HOOKS.get((kind, name))
        found = {
            family: [
                line for rule in each if rule.chain == chain for line in statements(rule, family)
            ]
            for family, each in own.items()
        }
        lines = _merged(list(found.values()))
        if hook is not None and len(found) == 1:
            (version,) = found
            only = f"meta nfproto {'ipv4' if version == 4 else 'ipv6'}"
            lines = [f"{only} {line}" for line in lines]
        chains[name] = [*([hook] if hook else []), *lines]
    return chains


def _is_chain(name: str) -> bool:
    return name.startswith("ISTIO_") or name in {"PREROUTING", "OUTPUT"}


def chain_name(name: str) -> str:
    """``ISTIO_IN_REDIRECT`` as ``istio-in-redirect``."""
    return name.lower().replace("_", "-")


def _merged(found: Sequence[Sequence[str]]) -> list[str]:
    """Rules of several IP versions in one chain: equal ones once, each version's order kept."""
    result = list(found[0])
    for other in found[1:]:
        merged: list[str] = []
        rest = list(other)
        for line in result:
            if line in rest:
                at = rest.index(line)
                merged += rest[:at]
                rest = rest[at + 1 :]
            merged.append(line)
        result = [*merged, *rest]
    return result


_MATCHES: Final[Mapping[str, str]] = {
    "--uid-owner": "meta skuid",
    "--gid-owner": "meta skgid",
    "-i": "iifname",
    "-o": "oifname",
}
_ADDRESSES: Final[Mapping[Family, str]] = {4: "ip", 6: "ip6"}
_MARKS: Final[Mapping[str, str]] = {"mark": "meta mark", "connmark": "ct mark"}


def statements(rule: Rule, family: Family) -> tuple[str, ...]:
    """One rule of iptables as rules of nftables, with counters as iptables has them.

    TPROXY of iptables drops what no socket waits for, where that of nftables goes on with the next
    rule: so this is one that drops. Raises ValueError for words that no rule of ours has.
    """
    at = rule.words.index("-j")
    words = [*_matches(rule.words[:at], family), "counter"]
    verdicts = [_verdict(rule.target, rule.words[at + 2 :], _ADDRESSES[family])]
    if rule.target == "TPROXY":
        verdicts.append("drop")
    return tuple(" ".join([*words, verdict]) for verdict in verdicts)


def _matches(words: Sequence[str], family: Family) -> Iterator[str]:
    address = _ADDRESSES[family]
    protocol, module, equals = "", "", ""
    ported = any(word in {"--dport", "--sport", "--dports"} for word in words)
    left = iter(words)
    for word in left:
        if word == "!":
            equals = "!= "
            continue
        value = next(left)
        match word:
            case "-p":
                protocol = value
                if not ported:
                    yield f"meta l4proto {value}"
            case "-m":
                module = value
                continue
            case "--dport" | "--sport":
                yield f"{protocol} {word.strip('-')} {equals}{value}"
            case "--dports":
                yield f"{protocol} dport {equals}{{ {value.replace(',', ', ')} }}"
            case "-s" | "-d":
                yield f"{address} {'saddr' if word == '-s' else 'daddr'} {equals}{value}"
            case "--ctstate":
                yield f"ct state {value.lower()}"
            case "--mark":
                yield f"{_MARKS[module]} {equals}{value}"
            case "-i" | "-o":
                yield f"{_MATCHES[word]} {equals}{_interface(value)}"
            case "--uid-owner" | "--gid-owner":
                yield f"{_MATCHES[word]} {equals}{value}"
            case _:
                raise ValueError(f"{' '.join(words)}: {word} has no form in nftables")
        equals = ""


def _interface(name: str) -> str:
    """``eth+`` of iptables is ``eth*``."""
    return f'"{name[:-1]}*"' if name.endswith("+") else f'"{name}"'


def _verdict(target: str, options: Sequence[str], version: str) -> str:
    """What happens to a packet that matches."""
    match target, options:
        case (("RETURN" | "ACCEPT" | "DROP"), ()):
            return target.lower()
        case "REDIRECT", ("--to-ports", port):
            return f"redirect to :{port}"
        case "MARK", ("--set-mark", mark):
            return f"meta mark set {mark}"
        case "CONNMARK", ("--save-mark",):
            return "ct mark set meta mark"
        case "CONNMARK", ("--restore-mark",):
            return "meta mark set ct mark"
        case "TPROXY", ("--tproxy-mark", mark, "--on-port", port):
            return f"tproxy {version} to :{port} meta mark set {mark.partition('/')[0]} accept"
        case "CT", ("--zone", zone):
            return f"ct zone set {zone}"
        case _, () if _is_chain(target):
            return f"jump {chain_name(target)}"
    raise ValueError(f"-j {target} {' '.join(options)}: has no form in nftables")


def scratch(wanted: Sequence[Table]) -> tuple[Table, ...]:
    """The same rules in tables without hooks, which no packet meets.

    Rules are printed otherwise than they are written, and by each version in its own way. What is
    there is compared with what the kernel and ``nft`` make of these.
    """
    return tuple(
        Table(
            f"{table.name}{SCRATCH}", {name: _rules(lines) for name, lines in table.chains.items()}
        )
        for table in wanted
    )


def _rules(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line for line in lines if not line.startswith("type "))


def listed(text: str) -> Mapping[str, Table]:
    """The tables that ``nft -s -y list`` prints, by name."""
    found: dict[str, dict[str, list[str]]] = {}
    chains: dict[str, list[str]] = {}
    chain: list[str] = []
    for line in text.splitlines():
        words = line.split()
        match words:
            case ["table", _, name, "{"]:
                chains = found.setdefault(name, {})
            case ["chain", name, "{"]:
                chain = chains.setdefault(name, [])
            case [] | ["}"]:
                continue
            case _:
                chain.append(" ".join(words))
    return {
        name: Table(name, {each: tuple(lines) for each, lines in content.items()})
        for name, content in found.items()
    }


def differences(
    found: Mapping[str, Table], wanted: Sequence[Table], shown: Mapping[str, Table]
) -> tuple[str, ...]:
    """How the tables that are there differ from the wanted ones; the order of rules counts.

    ``shown`` are the scratch tables as ``nft`` prints them.
    """
    names = [table.name for table in wanted]
    told = [f"{name} is not wanted" for name in sorted(found.keys() - set(names))]
    for table in wanted:
        if table.name not in found:
            told.append(f"{table.name} is missing")
            continue
        have = found[table.name].chains
        told += [
            f"{table.name}: chain {each} is not wanted"
            for each in sorted(have.keys() - table.chains)
        ]
        for chain, lines in table.chains.items():
            hook = [line for line in lines if line.startswith("type ")]
            want = (*hook, *shown[f"{table.name}{SCRATCH}"].chains[chain])
            told += _chain_differences(f"{table.name} {chain}", tuple(have.get(chain, ())), want)
    return tuple(told)


def _chain_differences(where: str, have: Sequence[str], want: Sequence[str]) -> Iterator[str]:
    if tuple(have) == tuple(want):
        return
    lacking = [line for line in want if line not in have]
    beyond = [line for line in have if line not in want]
    yield from (f"{where} lacks {line}" for line in lacking)
    yield from (f"{where} has {line}" for line in beyond)
    if not lacking and not beyond:
        yield f"{where} has {len(have)} rules in another order or number, want {len(want)}"


def replacement(wanted: Sequence[Table], present: Iterable[str]) -> str:
    """One transaction after which the wanted tables are there and no other of ours.

    A table is added, which changes nothing if it is there, then deleted and made anew: packets
    meet the old rules or the new ones.
    """
    gone = sorted({*present, *(table.name for table in wanted)})
    lines = [f"add table {FAMILY} {name}\ndelete table {FAMILY} {name}\n" for name in gone]
    return "".join([*lines, *(table.text() for table in wanted)])


def own(names: Iterable[str]) -> frozenset[str]:
    """Those table names that are ours, scratch tables among them."""
    ours = {*TABLES.values(), *(f"{name}{SCRATCH}" for name in TABLES.values())}
    return frozenset(ours & set(names))
