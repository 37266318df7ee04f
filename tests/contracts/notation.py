"""Reads the contract tables of tests/contracts/tables into frozen data.

A table file lists what is on the wire, one fact per line:

    == title ==                               a section; each later one is an older release, unless
                                              it tables other files
    package P    (file F)                     what follows is source file F of package P
    file option a = b                         set on that file
    message A.B / enum A.B / service S        B nested in A; followed by indented lines
      1 name: repeated T [deprecated]         a field; map<K,V> and `optional T` as in .proto files
      oneof x {                               the fields up to `}` are members of x
      0 NAME                                  an enum value
      reserved 5, 7-9 / reserved names a, b
      rpc M(stream? In) returns (stream? Out)  path=/P.S/M  {HTTP routes}
    extend X                                  followed by extension fields of X
    was message A / was 1 x: T (1.0-1.4; …)   in the releases named, but no longer

Lines that begin with `diff`, `note`, `table` or `names` say nothing about definitions, and neither
do lines with a tab and lines that begin with `#`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

PACKAGE = re.compile(r"package (\S+)\s+\(file (\S+)\)$")
OPTION = re.compile(r'file option (\w+) = "?([^"]+)"?$')
OPENING = re.compile(r"(message|enum|service|extend) ([\w.]+)")
FIELD = re.compile(r"(\d+) (\w+): (?:(repeated|optional) )?([^\[(]+)")
VALUE = re.compile(r"(\d+) (\w+)")
RPC = re.compile(r"rpc (\w+)\((stream )?([\w.]+)\) returns \((stream )?([\w.]+)\)\s+path=(\S+)")
TAG = re.compile(r"\[([^\]]+)\]")
RELEASES = re.compile(r"\(([^;)]+)[;)]")
SILENT = ("diff", "note", "table", "names")


@dataclass(frozen=True)
class Field:
    """One field line; type is as written, label is "", "repeated" or "optional"."""

    number: int
    name: str
    type: str
    label: str = ""
    oneof: str = ""
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Value:
    """One enum value line."""

    number: int
    name: str
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rpc:
    """One rpc line; the HTTP routes of a JSON gateway are not part of the gRPC contract."""

    name: str
    request: str
    response: str
    client_streams: bool
    server_streams: bool
    path: str


@dataclass
class Definition:
    """A message, enum, service or extend block; name is written from the package root."""

    kind: str
    name: str
    fields: list[Field] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    rpcs: list[Rpc] = field(default_factory=list)
    reserved: set[int] = field(default_factory=set)
    reserved_names: set[str] = field(default_factory=set)


@dataclass
class Table:
    """The definitions of one source file in one release."""

    package: str
    file: str
    options: dict[str, str] = field(default_factory=dict)
    definitions: list[Definition] = field(default_factory=list)


@dataclass(frozen=True)
class Former:
    """A `was` line: a field or value of a definition that older releases had.

    releases is as written, for example "1.0-1.4".
    """

    kind: str
    definition: str
    entry: Field | Value
    releases: str


@dataclass
class Contract:
    """One table file. Tables stand in the order of the file: the newest release comes first."""

    tables: list[Table] = field(default_factory=list)
    former: list[Former] = field(default_factory=list)


def parse(text: str) -> Contract:
    """Read one table file. Raise ValueError with the line for anything the notation lacks."""
    contract = Contract()
    block: Definition | None = None
    oneof = ""
    lines = [line for line in text.splitlines() if significant(line)]
    for line in lines:
        stripped = line.strip()
        if line.startswith(("==", "was")):
            block = None
        elif match := PACKAGE.match(line):
            contract.tables.append(Table(match[1], match[2]))
        elif match := OPTION.match(line):
            contract.tables[-1].options[match[1]] = match[2]
        elif not line.startswith(" ") and (match := OPENING.match(line)):
            block = Definition(match[1], match[2])
            contract.tables[-1].definitions.append(block)
        elif stripped.startswith("oneof "):
            oneof = stripped.split()[1]
        elif stripped == "}":
            oneof = ""
        elif block is not None and line.startswith(" "):
            read_line(block, stripped, oneof)
        else:
            raise ValueError(f"not in the notation: {line!r}")
    contract.former.extend(former(lines))
    return contract


def significant(line: str) -> bool:
    return bool(line.strip()) and "\t" not in line and not line.startswith(("#", *SILENT))


def read_line(block: Definition, line: str, oneof: str) -> None:
    """Add one indented line to its block."""
    if line.startswith("reserved names "):
        block.reserved_names.update(re.split(r",\s*", line.removeprefix("reserved names ")))
    elif line.startswith("reserved "):
        block.reserved.update(numbers(line.removeprefix("reserved ")))
    elif block.kind == "service":
        block.rpcs.append(rpc_of(line))
    elif block.kind == "enum":
        block.values.append(value_of(line))
    else:
        block.fields.append(field_of(line, oneof))


def field_of(line: str, oneof: str = "") -> Field:
    match = FIELD.match(line)
    if match is None:
        raise ValueError(f"not a field: {line!r}")
    number, name, label, written = match.groups(default="")
    return Field(int(number), name, written.strip(), label, oneof, tags_of(line))


def value_of(line: str) -> Value:
    match = VALUE.match(line)
    if match is None:
        raise ValueError(f"not an enum value: {line!r}")
    return Value(int(match[1]), match[2], tags_of(line))


def rpc_of(line: str) -> Rpc:
    match = RPC.match(line)
    if match is None:
        raise ValueError(f"not an rpc: {line!r}")
    name, client, request, server, response, path = match.groups()
    return Rpc(name, request, response, client is not None, server is not None, path)


def tags_of(line: str) -> frozenset[str]:
    """The tags that concern the contract; release notes such as [since 3.1] do not."""
    tags = TAG.findall(line)
    return frozenset(tag for tag in tags if not tag.startswith(("since ", "not in ")))


def numbers(text: str) -> Iterator[int]:
    """`5, 11-13` is 5, 11, 12, 13."""
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        yield from range(int(first), int(last or first) + 1)


def former(lines: Iterable[str]) -> Iterator[Former]:
    """The `was` lines that name their releases."""
    kind = definition = ""
    for line in lines:
        if match := re.match(r"was (message|enum) (\S+)", line):
            kind, definition = match.groups()
        elif line.startswith("was ") and (releases := RELEASES.search(line)):
            entry = line.removeprefix("was").strip()
            parsed = field_of(entry) if kind == "message" else value_of(entry)
            yield Former(kind, definition, parsed, releases[1])
