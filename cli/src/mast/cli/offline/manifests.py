"""Manifests as text: the documents with pods change, all others stay as they were written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from mast.galley.core.documents import documents
from mast.galley.core.injection.settings import Settings
from mast.galley.core.injection.workloads import Outcome, with_proxies
from mast.galley.core.nodes import plain
from mast.galley.core.problem import Problem

_WIDTH = 1 << 20
"""Lines are not folded: commands and JSON in annotations stay in one."""
_START = re.compile(r"---(?=\s|$)")
_END = re.compile(r"\.\.\.(?=\s|$)")


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
    nodes, problems = documents(text)
    by_line = {node.position.line: node for node in nodes}
    texts: list[str] = []
    found: list[Found] = []
    for first, piece in _pieces(text):
        lines = range(first, first + piece.count("\n") + 1)
        node = next((by_line[line] for line in lines if line in by_line), None)
        item = plain(node) if node is not None else None
        if node is None or not isinstance(item, dict):
            texts.append(piece)
            continue
        made, outcomes = with_proxies(item, settings, namespace)
        found += [Found(node.position.line, each) for each in outcomes]
        texts.append(piece if made == item else _written(piece, made))
    return Manifests("".join(texts), tuple(found), tuple(problems))


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Each document with the marks around it, and the number of its first line.

    Lines that begin so are marks wherever they stand (YAML 1.2, 9.1.2).
    """
    first = 1
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if lines and (_START.match(line) or _END.match(lines[-1])):
            yield first, "\n".join(lines) + "\n"
            first, lines = number, []
        lines.append(line)
    yield first, "\n".join(lines)


def _written(piece: str, item: dict[str, Any]) -> str:
    """A document anew: JSON stays JSON; marks, and comments before the content, stay."""
    if piece.lstrip().startswith("{"):
        return json.dumps(item, indent=2) + "\n"
    lines = piece.splitlines()
    kept = []
    for line in lines:
        mark = _START.match(line)
        rest = line[3:].strip() if mark else line.strip()
        if rest and not rest.startswith("#"):
            kept += ["---"] if mark else []
            break
        kept.append(line)
    made: str = yaml.dump(item, Dumper=_Dumper, sort_keys=False, width=_WIDTH)
    end = [f"{lines[-1]}\n"] if _END.match(lines[-1]) else []
    return "".join([*(f"{line}\n" for line in kept), made, *end])


class _Dumper(yaml.CSafeDumper):
    """Writes texts of several lines as such, and everything out: no references to equal parts."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
