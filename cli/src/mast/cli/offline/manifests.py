"""Manifests as text: the documents with pods change, all others stay as they were written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml

from mast.galley.core.documents import documents
from mast.galley.core.injection.settings import Settings
from mast.galley.core.injection.trees import plain
from mast.galley.core.injection.workloads import Outcome, with_proxies
from mast.galley.core.problem import Problem

_WIDTH = 1 << 20
"""Lines are not folded: commands and JSON in annotations stay in one."""
_MARK = re.compile(r"^---(?=\s|$)")


@dataclass(frozen=True)
class Found:
    """What became of a pod: ``line`` is where its document begins."""

    line: int
    outcome: Outcome


@dataclass(frozen=True)
class Manifests:
    """The text with proxies, what became of each pod, and what could not be read."""

    text: str
    found: tuple[Found, ...]
    problems: tuple[Problem, ...]


def with_sidecars(text: str, settings: Settings, namespace: str) -> Manifests:
    """Inject into every pod of a text of YAML or JSON documents.

    A document without a pod that gets a proxy stays byte for byte; of the others comments stay
    that stand before the first key.
    """
    pieces: list[str] = []
    found: list[Found] = []
    problems: list[Problem] = []
    for line, piece in _pieces(text):
        nodes, wrong = documents(piece)
        problems += [_moved(each, line - 1) for each in wrong]
        item = plain(nodes[0]) if len(nodes) == 1 and not wrong else None
        if not isinstance(item, dict):
            pieces.append(piece)
            continue
        made, outcomes = with_proxies(item, settings, namespace)
        found += [Found(line - 1 + nodes[0].position.line, each) for each in outcomes]
        pieces.append(piece if made == item else _written(piece, made))
    return Manifests("".join(pieces), tuple(found), tuple(problems))


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Each document with the mark before it, and the number of its first line.

    A line that begins with ``---`` ends a document wherever it stands (YAML 1.2, 9.1.2).
    """
    first, lines = 1, []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if lines and _MARK.match(line):
            yield first, "".join(lines)
            first, lines = number, []
        lines.append(line)
    if lines:
        yield first, "".join(lines)


def _written(piece: str, item: dict[str, Any]) -> str:
    """A document anew: JSON stays JSON; marks and comments before the content stay."""
    if piece.lstrip().startswith("{"):
        return json.dumps(item, indent=2) + "\n"
    kept = []
    for line in piece.splitlines(keepends=True):
        stripped = line.strip()
        if stripped and not stripped.startswith("#") and stripped != "---":
            break
        kept.append(line)
    made: str = yaml.dump(item, Dumper=_Dumper, sort_keys=False, width=_WIDTH)
    return "".join(kept) + made


class _Dumper(yaml.CSafeDumper):
    """Writes texts of several lines as such, and everything out: no references to equal parts."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _moved(problem: Problem, lines: int) -> Problem:
    """A problem of a piece where it stands in the whole text."""
    position = problem.position
    if not position.line:
        return problem
    return replace(problem, position=replace(position, line=position.line + lines))
