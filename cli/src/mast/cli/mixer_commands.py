"""mixer: ask a Mixer as proxies do, and evaluate its expressions."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from importlib.metadata import version
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from mast.cli.errors import CommandError
from mast.cli.local.home import Home
from mast.cli.output import Format
from mast.mixer.core.values import Value

if TYPE_CHECKING:
    from mast.cli.mixer.load import Load
    from mast.cli.mixer.mixc import Output

T = TypeVar("T")

EXAMPLES = """\b
Examples:
  mastctl mixer check -s destination.namespace=default,source.user=ann --quota requestcount=1
  mastctl mixer report -s destination.service.host=web -i response.code=200 -t request.time=...
  mastctl mixer eval 'request.headers["x"] | "none"' --stringmap_attributes 'request.headers=x:1'
  mastctl mixer check -s destination.namespace=default -r 1000 -c 8 --print_response=false
  mastctl mixer eval < cases.jsonl
"""

commands = typer.Typer(
    help="Ask a Mixer as proxies do, and evaluate its expressions.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode=None,
)

_PAIRS = "NAME=VALUE,..."
_OPTIONS: Final = {
    "": typer.Option(
        "-a", "--attributes", metavar=_PAIRS, help="Attributes whose types are sensed."
    ),
    "string": typer.Option("-s", "--string_attributes", metavar=_PAIRS, help="Strings."),
    "int64": typer.Option("-i", "--int64_attributes", metavar=_PAIRS, help="Integers."),
    "double": typer.Option("-d", "--double_attributes", metavar=_PAIRS, help="Floats."),
    "bool": typer.Option("-b", "--bool_attributes", metavar=_PAIRS, help="Booleans."),
    "timestamp": typer.Option(
        "-t", "--timestamp_attributes", metavar=_PAIRS, help="RFC 3339 times."
    ),
    "duration": typer.Option(
        "--duration_attributes", metavar=_PAIRS, help="Durations such as 1m30s."
    ),
    "bytes": typer.Option("--bytes_attributes", metavar=_PAIRS, help="b0:b1:b2, or IP addresses."),
    "stringmap": typer.Option(
        "--stringmap_attributes", metavar="NAME=K:V;K:V,...", help="Maps of strings."
    ),
}
"""mixc's options for attributes, by kind of value."""

Address = Annotated[
    str,
    typer.Option(
        "-m",
        "--mixer",
        envvar="MAST_MIXER",
        help="Mixer's plaintext gRPC, HOST:PORT; by default that of this machine's mesh.",
    ),
]
Repeat = Annotated[
    int, typer.Option("-r", "--repeat", min=1, help="Each worker sends it so many times.")
]
Concurrency = Annotated[
    int, typer.Option("-c", "--concurrency", min=1, help="Workers that send at the same time.")
]
Rate = Annotated[
    float, typer.Option(help="Calls a second of each worker at most; 0 or less: no limit.")
]
PrintResponse = Annotated[
    str,
    typer.Option(
        "--print_response",
        metavar="true|false",
        help="Whether answers are printed; else only failures and how it went, under load.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    commands.command()(_with_attributes(check))
    commands.command()(_with_attributes(report))
    commands.command(name="eval")(_with_attributes(evaluate))
    commands.command(name="version")(show_version)
    app.add_typer(commands, name="mixer")


def _with_attributes(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose ``attributes`` are what these options say."""
    names = {kind: f"{kind}_values" for kind in _OPTIONS}

    @wraps(command)
    def run(**arguments: Any) -> None:
        from mast.cli.mixer import values

        given = {kind: arguments.pop(name) for kind, name in names.items()}
        command(values.attributes(given), **arguments)

    own = list(signature(command, eval_str=True).parameters.values())[1:]
    added = [
        Parameter(
            names[kind], Parameter.KEYWORD_ONLY, default="", annotation=Annotated[str, option]
        )
        for kind, option in _OPTIONS.items()
    ]
    parameters = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in own]
    run.__signature__ = Signature([*parameters, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*parameters, *added)}
    return run


def check(
    attributes: Mapping[str, Value],
    quotas: Annotated[
        str, typer.Option("-q", "--quotas", metavar="NAME=AMOUNT,...", help="Quotas to allocate.")
    ] = "",
    deduplication_id: Annotated[
        str, typer.Option(help="Equal calls count once; by default each call is its own.")
    ] = "",
    address: Address = "",
    repeat: Repeat = 1,
    concurrency: Concurrency = 1,
    rate: Rate = 0.0,
    print_response: PrintResponse = "true",
    output: Annotated[Format, typer.Option("-o", "--output", help="Format of answers.")] = (
        Format.TABLE
    ),
) -> None:
    """Ask whether a request may pass."""
    from mast.cli.mixer import mixc

    asked = _amounts(quotas)
    load, shown = _sending(repeat, concurrency, rate, print_response, output)
    where = _address(address, "policy")
    sent = mixc.check(where, attributes, asked, deduplication_id, load, shown)
    asyncio.run(sent).insist(where)


def report(
    attributes: Mapping[str, Value],
    address: Address = "",
    repeat: Repeat = 1,
    report_batch_size: Annotated[
        int, typer.Option("--report_batch_size", min=1, help="Records of one call.")
    ] = 1,
    concurrency: Concurrency = 1,
    rate: Rate = 0.0,
    print_response: PrintResponse = "true",
) -> None:
    """Tell Mixer of a request that has ended."""
    from mast.cli.mixer import mixc

    load, shown = _sending(repeat, concurrency, rate, print_response, Format.TABLE)
    where = _address(address, "telemetry")
    asyncio.run(mixc.report(where, attributes, report_batch_size, load, shown)).insist(where)


def _sending(
    repeat: int, concurrency: int, rate: float, print_response: str, output: Format
) -> tuple[Load, Output]:
    from mast.cli.mixer.load import Load
    from mast.cli.mixer.mixc import Output
    from mast.cli.mixer.values import READERS

    printed = _usable(READERS["bool"], print_response, "--print_response")
    return Load(repeat, concurrency, rate), Output(output, responses=bool(printed))


def show_version() -> None:
    """Say which mastctl this is; Mixer's own version is on its page /version."""
    sys.stdout.write(f"mastctl {version('mast-cli')}\n")


def evaluate(
    attributes: Mapping[str, Value],
    expression: Annotated[
        str, typer.Argument(help="Expression; without it JSON lines are read from standard input.")
    ] = "",
    manifest: Annotated[
        str, typer.Option(metavar="NAME=TYPE,...", help="Types of attributes beside the usual.")
    ] = "",
    dialect: Annotated[
        str, typer.Option(metavar="CEXL|CEL|COMPAT", help="Language of the expression.")
    ] = "CEXL",
) -> None:
    """Evaluate expressions, and say what they looked up.

    A line of standard input is one case: {"expr", "manifest": {attribute: "STRING"|...},
    "attributes": {name: {"t": type, "v"|"ns"|"hex": ...}}, "dialect": "CEXL"|"CEL"|"COMPAT"}, and
    becomes one line: {"outcome": "value"|"compile_error"|"eval_error", "type", "value", "error",
    "referenced"}. A line that is no case is told in its place, and the exit status is 2. With an
    expression as argument the attributes that Istio declares are known, and those that options
    give; the exit status is 1 if it has no value.
    """
    from mast.cli.mixer.evaluation import Case, dialect_of, outcome
    from mast.cli.mixer.values import valid_text

    if not expression:
        if attributes or manifest:
            raise CommandError("attributes of options need an expression as argument", status=2)
        _evaluate_lines()
        return
    case = Case(
        expression=valid_text(expression),
        types=_types(attributes, manifest),
        attributes=attributes,
        dialect=_usable(dialect_of, dialect, "--dialect"),
    )
    found = outcome(case)
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    if found["outcome"] != "value":
        raise typer.Exit(1)


def _evaluate_lines() -> None:
    from mast.cli.mixer.evaluation import line_outcome

    numbers = []
    for number, line in enumerate(sys.stdin.buffer, 1):
        if not line.strip():
            continue
        found, described = line_outcome(line)
        if not described:
            numbers.append(number)
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    if numbers:
        shown = ", ".join(map(str, numbers))
        raise CommandError(f"what describes no case: line {shown} of standard input", status=2)


def _types(given: Mapping[str, Value], manifest: str) -> dict[str, Any]:
    """What Istio declares, what options imply, what they say; the later counts."""
    from mast.cli.mixer.evaluation import types_of
    from mast.cli.mixer.manifest import declared
    from mast.cli.mixer.values import TYPES, pairs

    implied = {name: TYPES[type(value)] for name, value in given.items()}
    said = _usable(types_of, dict(pairs(manifest, "--manifest")), "--manifest")
    return {**implied, **declared(), **said}


def _amounts(quotas: str) -> dict[str, int]:
    from mast.cli.mixer.values import amount, pairs

    given = pairs(quotas, "--quotas")
    return {name: _usable(amount, text, "--quotas") for name, text in given}


def _usable(read: Callable[[Any], T], given: Any, option: str) -> T:
    """What an option says; CommandError if it cannot be read."""
    from mast.cli.mixer.values import BadValue

    try:
        return read(given)
    except BadValue as error:
        raise CommandError(f"{option}: {error}", status=2) from error


def _address(given: str, role: str) -> str:
    """The address given, else that of a Mixer of this machine's mesh that answers such calls."""
    if given:
        return given
    mesh = Home.default().running()
    return mesh.addresses[mesh.mixers_for(role)[0]]
