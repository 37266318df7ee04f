"""What the contract tables demand, as facts.

Where several releases table one definition, the newest (the first in its file) wins. Mast still
honours Istio 1.4, so a field that only an older table or a `was` line of 1.4 has stays in the
message if its number is free: marked deprecated, and with its reservation lifted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from tests.contracts.facts import SCALARS, Facts, FieldFact, options_fact, rpc_fact, value_fact
from tests.contracts.notation import Contract, Definition, Field, Former, Table

KEPT_RELEASE = "1.4"

Kinds = Mapping[str, str]


def tabled(contracts: Iterable[Contract]) -> Facts:
    """The facts of all table files; types may refer to other files."""
    contracts = list(contracts)
    kinds = {
        name: kind for contract in contracts for name, kind in definition_kinds(contract).items()
    }
    facts: Facts = {}
    for contract in contracts:
        facts.update(contract_facts(contract, kinds))
    return facts


def definition_kinds(contract: Contract) -> dict[str, str]:
    """Absolute name to "message" or "enum", for everything the file defines in any release."""
    kinds = {f"{t.package}.{d.name}": d.kind for t in contract.tables for d in t.definitions}
    for former in contract.former:
        kinds.setdefault(f"{package_of(contract, former)}.{former.definition}", former.kind)
    return kinds


def package_of(contract: Contract, former: Former) -> str:
    """The package that tables the outermost message; "" if no table has it."""
    outer = former.definition.split(".")[0]
    packages = (t.package for t in contract.tables for d in t.definitions if d.name == outer)
    return next(packages, "")


def contract_facts(contract: Contract, kinds: Kinds) -> Facts:
    facts: Facts = {}
    for table in contract.tables:
        for definition in table.definitions:
            new = definition_facts(table, definition, kinds)
            if definition_key(table.package, definition.kind, definition.name) in facts:
                new = older_fields(new)
            facts = new | facts
    return without_lifted_reservations(former_facts(contract, facts, kinds) | facts)


def definition_key(package: str, kind: str, name: str) -> str:
    return f"{kind} {package}.{name}"


def definition_facts(table: Table, definition: Definition, kinds: Kinds) -> Facts:
    """The facts of one block."""
    if definition.kind == "extend":
        return {
            f"extension {definition.name}.{f.number}": extension_fact(f, table.package, kinds)
            for f in definition.fields
        }
    scope = f"{table.package}.{definition.name}"
    facts: Facts = {f"{definition.kind} {scope}": options_fact(table.options)}
    for field in definition.fields:
        facts[f"field {scope}.{field.number}"] = field_fact(field, table.package, kinds)
    for value in definition.values:
        fact = value_fact(value.name, deprecated="deprecated" in value.tags)
        facts[f"value {scope}.{value.number}"] = fact
    for reserved in definition.reserved | definition.reserved_names:
        facts[f"reserved {scope}.{reserved}"] = ""
    for rpc in definition.rpcs:
        facts[f"rpc {rpc.path}"] = rpc_fact(
            absolute(rpc.request, table.package, kinds),
            absolute(rpc.response, table.package, kinds),
            client_streams=rpc.client_streams,
            server_streams=rpc.server_streams,
        )
    return facts


def field_fact(field: Field, package: str, kinds: Kinds) -> FieldFact:
    """Presence, packing and the JSON name follow from the type (proto3) unless a tag says else."""
    type_ = absolute(field.type, package, kinds)
    repeated = field.label == "repeated" or type_.startswith("map<")
    message = type_ not in SCALARS and kinds.get(type_) != "enum"
    json = next((tag[5:] for tag in field.tags if tag.startswith("json=")), camel(field.name))
    return FieldFact(
        name=field.name,
        type=type_,
        label=field.label,
        oneof=field.oneof,
        presence=not repeated and (message or bool(field.oneof) or field.label == "optional"),
        packed=field.label == "repeated" and not message and type_ not in ("bytes", "string"),
        json=json,
        required="required" in field.tags,
        deprecated="deprecated" in field.tags,
    )


def extension_fact(field: Field, package: str, kinds: Kinds) -> FieldFact:
    """Extensions of the options are proto2 fields: optional, present or not."""
    name = f"{package}.{field.name}"
    fact = field_fact(field, package, kinds)
    return replace(fact, name=name, label="optional", presence=True)


def absolute(type_: str, package: str, kinds: Kinds) -> str:
    """The type as written in a table of the package, made absolute."""
    if match := re.fullmatch(r"map<(\w+),\s*(.+)>", type_):
        return f"map<{match[1]},{absolute(match[2], package, kinds)}>"
    local = f"{package}.{type_}"
    return local if type_ not in SCALARS and local in kinds else type_


def camel(name: str) -> str:
    """The JSON name protobuf derives (proto3, "JSON Mapping")."""
    return re.sub(r"_+(.?)", lambda match: match[1].upper(), name)


def older_fields(facts: Facts) -> Facts:
    """What an older table may add to a definition that a newer one has."""
    return {
        key: replace(fact, deprecated=True)
        for key, fact in facts.items()
        if isinstance(fact, FieldFact)
    }


def former_facts(contract: Contract, current: Facts, kinds: Kinds) -> Facts:
    """What the `was` lines of 1.4 demand; a definition they alone have is kept as it was."""
    facts: Facts = {}
    for former in contract.former:
        package = package_of(contract, former)
        if not package or not former.releases.endswith(KEPT_RELEASE):
            continue
        scope = f"{package}.{former.definition}"
        gone = definition_key(package, former.kind, former.definition) not in current
        if gone:
            facts[f"{former.kind} {scope}"] = ""
        if isinstance(former.entry, Field):
            fact = field_fact(former.entry, package, kinds)
            kept = fact if gone else replace(fact, deprecated=True)
            facts[f"field {scope}.{former.entry.number}"] = kept
        elif gone:
            facts[f"value {scope}.{former.entry.number}"] = former.entry.name
    return facts


def without_lifted_reservations(facts: Facts) -> Facts:
    """Drop the reservations of numbers and names that a kept field uses again."""
    used = set()
    for key, fact in facts.items():
        if isinstance(fact, FieldFact):
            field = key.removeprefix("field ")
            used |= {f"reserved {field}", f"reserved {field.rpartition('.')[0]}.{fact.name}"}
    return {key: fact for key, fact in facts.items() if key not in used}
