"""Command-line flags and environment variables, parsed once into a frozen dataclass."""

from __future__ import annotations

import argparse
import dataclasses
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")


def duration(text: str) -> timedelta:
    """A length of time like ``100ms``, ``10s`` or ``1h30m``; ValueError says what is allowed."""
    parts = _DURATION.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError(f"{text!r} is no duration; write for example 100ms, 10s or 1h30m")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


def boolean(text: str) -> bool:
    """``true``/``false`` in any case, also ``1``/``0``, ``yes``/``no``."""
    lowered = text.lower()
    if lowered in {"true", "1", "yes", "on"}:
        return True
    if lowered in {"false", "0", "no", "off"}:
        return False
    raise ValueError(f"{text!r} is no boolean; write true or false")


def items(text: str) -> tuple[str, ...]:
    """A comma-separated list without empty items."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


_PARSERS: Mapping[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: boolean,
    timedelta: duration,
    Path: Path,
    tuple[str, ...]: items,
}


def parse(
    cls: type[T], argv: Sequence[str], env: Mapping[str, str], *, prefix: str, prog: str = ""
) -> T:
    """An instance of the dataclass ``cls``: flags win over ``PREFIX_*`` variables over defaults.

    A field ``etcd_root`` is the flag ``--etcd-root``, in Istio's spelling ``--etcdRoot``, and the
    variable ``PREFIX_ETCD_ROOT``; ``metadata["variables"]`` are other names of it, ``"help"`` is
    its help text. A value that does not parse, or that ``cls`` refuses, ends the program with
    usage and status 2, naming the flag or variable.
    """
    hints = typing.get_type_hints(cls)
    parser = argparse.ArgumentParser(prog=prog or f"mast-{prefix.lower()}", description=cls.__doc__)
    fields = [f for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
    for field in fields:
        parser.add_argument(
            *_flags(field.name), type=_typed(hints[field.name]), help=field.metadata.get("help", "")
        )
    given = {
        name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None
    }
    for field in fields:
        own = f"{prefix.upper()}_{field.name.upper()}"
        for variable in (own, *field.metadata.get("variables", ())):
            if field.name in given or variable not in env:
                continue
            try:
                given[field.name] = _typed(hints[field.name])(env[variable])
            except (ValueError, argparse.ArgumentTypeError) as error:
                parser.error(f"environment variable {variable}: {error}")
    try:
        return cls(**given)
    except ValueError as error:
        parser.error(str(error))


def _flags(name: str) -> list[str]:
    first, *others = name.split("_")
    spellings = (name.replace("_", "-"), first + "".join(map(str.capitalize, others)))
    return [f"--{each}" for each in dict.fromkeys(spellings)]


def _typed(hint: Any) -> Callable[[str], Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (arg for arg in typing.get_args(hint) if arg is not type(None))
    parser = _PARSERS[hint]

    def convert(text: str) -> Any:
        try:
            return parser(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert
