"""docs/acceptance.md names tests that exist, for everything there is to show."""

import re
from pathlib import Path

import pytest

from tests.support.named_tests import named_in

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "acceptance.md"
ELSEWHERE = "with the security work"

_NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+(?:::\w+)?))?`")


def rows() -> dict[str, list[str]]:
    """Lines of each table by its title."""
    found: dict[str, list[str]] = {}
    for part in DOCUMENT.read_text().split("\n## ")[1:]:
        title, *lines = part.splitlines()
        found[title] = [line for line in lines if re.match(r"\| \d", line)]
    return found


@pytest.mark.parametrize(
    ("table", "count"), [("Acceptance checklist", 38), ("Costly problems", 25)]
)
def test_every_item_is_there(table: str, count: int) -> None:
    lines = rows()[table]
    assert [int(line.split("|")[1]) for line in lines] == list(range(1, count + 1))
    for line in lines:
        assert _NAMED.search(line) or ELSEWHERE in line, line


def test_tests_that_are_named_exist() -> None:
    known: dict[str, set[str]] = {}
    for path, name in _NAMED.findall(DOCUMENT.read_text()):
        assert (TESTS / path).is_file(), path
        known.setdefault(path, named_in(TESTS / path))
        assert not name or name in known[path], f"{path}::{name}"
