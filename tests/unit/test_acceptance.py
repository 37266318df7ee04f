"""The pages of acceptance name tests that exist, for everything there is to show."""

import re
from pathlib import Path

import pytest

from mast.galley.core.rules.mixer import ADAPTERS
from tests.support.named_tests import named_in

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
PAGES = (*sorted(each.name for each in DOCS.glob("acceptance*.md")), "security.md")
ELSEWHERE = re.compile(r"with the security work|\]\(acceptance-mixer-\w+\.md\)")

_NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+(?:::\w+)?))?`")


def rows(page: str) -> dict[str, list[str]]:
    """Lines of each table of a page by its title."""
    found: dict[str, list[str]] = {}
    for part in (DOCS / page).read_text().split("\n## ")[1:]:
        title, *lines = part.splitlines()
        found[title] = [line for line in lines if re.match(r"\| [A-Z]?\d", line)]
    return found


@pytest.mark.parametrize(
    ("page", "table", "count"),
    [
        ("acceptance.md", "Acceptance checklist", 38),
        ("acceptance.md", "Costly problems", 25),
        ("acceptance-mixer.md", "Acceptance checklist", 54),
        ("acceptance-mixer-proxy.md", "Rows of the table", 28),
        ("acceptance-mixer-telemetry.md", "Reports", 9),
        ("acceptance-mixer-telemetry.md", "Adapter prometheus", 6),
        ("acceptance-mixer-telemetry.md", "Default telemetry", 5),
        ("acceptance-mixer-telemetry.md", "Restarts", 2),
        ("acceptance-security.md", "Acceptance checklist", 21),
        ("acceptance-security.md", "Attacks on the CA", 8),
        ("acceptance-galley.md", "B1 Shared values", 8),
        ("acceptance-galley.md", "B2 Networking", 32),
        ("acceptance-galley.md", "B3 Security, telemetry, mesh", 8),
        ("acceptance-galley.md", "B4 Legacy", 7),
        ("acceptance-galley.md", "Webhooks", 7),
        ("acceptance-galley.md", "History and distribution", 13),
        ("acceptance-galley.md", "Hostile input", 9),
    ],
)
def test_every_item_is_there(page: str, table: str, count: int) -> None:
    lines = rows(page)[table]
    assert [int(line.split("|")[1]) for line in lines] == list(range(1, count + 1))
    for line in lines:
        assert _NAMED.search(line) or ELSEWHERE.search(line), line


def test_items_of_galleys_checklist_are_there() -> None:
    lines = rows("acceptance-galley.md")["Acceptance checklist"]
    numbers = [int(line.split("|")[1]) for line in lines]
    assert numbers == sorted(set(numbers))
    assert set(numbers) >= {2, 3, 4, 6, 7, 10, 11, 12, 13}
    for line in lines:
        assert _NAMED.search(line), line


@pytest.mark.parametrize(
    ("page", "table", "section", "first", "last"),
    [
        ("acceptance-mixer.md", "Checks", "A", 1, 35),
        ("acceptance-mixer.md", "Configuration", "D", 1, 12),
        ("acceptance-mixer.md", "Operations", "I", 1, 3),
        ("acceptance-mixer-proxy.md", "Status at the proxy", "A", 36, 40),
        ("acceptance-mixer-proxy.md", "The client", "C", 1, 18),
        ("acceptance-mixer-proxy.md", "Carrying it", "K", 1, 8),
        ("acceptance-mixer-proxy.md", "Acceptance checklist", "", 49, 53),
        ("acceptance-mixer-language.md", "Expressions", "E", 1, 30),
        ("acceptance-mixer-language.md", "Templates", "F", 1, 3),
    ],
)
def test_every_rule_is_there(page: str, table: str, section: str, first: int, last: int) -> None:
    """Rules are numbered within sections of the specification."""
    lines = rows(page)[table]
    assert [line.split("|")[1].strip() for line in lines] == [
        f"{section}{number}" for number in range(first, last + 1)
    ]
    for line in lines:
        assert _NAMED.search(line), line


def test_every_adapter_is_there() -> None:
    page = (DOCS / "acceptance-mixer-language.md").read_text()
    table = page.partition("\n## Adapters\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^\| (\w+) \|.*\.(?:py|md)\b", table, re.MULTILINE)
    assert {*ADAPTERS, "noop", "cloudwatch", "stackdriver"} == set(shown)


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_are_named_exist(page: str) -> None:
    known: dict[str, set[str]] = {}
    for path, name in _NAMED.findall((DOCS / page).read_text()):
        assert (TESTS / path).is_file(), path
        known.setdefault(path, named_in(TESTS / path))
        assert not name or name in known[path], f"{path}::{name}"
