"""How mastctl speaks: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False)


class Format(StrEnum):
    """Formats of printed data."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def show(data: Any, format: Format, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print ``data`` as JSON or YAML, or ``rows`` under ``columns`` for people."""
    if format is Format.TABLE:
        plain(columns, rows)
    else:
        sys.stdout.write(dump(data, format))


def dump(data: Any, format: str) -> str:
    """``data`` as text: ``json``, or else YAML."""
    if format == Format.JSON:
        return json.dumps(data, indent=2) + "\n"
    found: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=100)
    return found


class _Dumper(yaml.CSafeDumper):
    """Writes everything out: equal parts are no references to each other."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as kubectl prints them: headings, three spaces, no borders, no truncation."""
    widths = [max(len(str(row[i])) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        line = "   ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def table(title: str, columns: Sequence[str]) -> Table:
    """A bordered table for reports."""
    found = Table(title=title, title_justify="left", show_lines=False)
    for column in columns:
        found.add_column(column, overflow="fold")
    return found


@contextmanager
def progress(text: str) -> Iterator[Any]:
    """Show on stderr that something takes time; yields a function that changes the text.

    Without a terminal each text is printed once as a line.
    """
    if stderr.is_terminal:
        with stderr.status(text) as status:
            yield lambda new: status.update(new)
    else:
        stderr.print(text)
        yield lambda new: stderr.print(new)


def note(text: str) -> None:
    """Tell the user something that is not data."""
    stderr.print(text, markup=False, soft_wrap=True)
