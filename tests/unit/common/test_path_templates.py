"""Path templates: which there are, and that Envoy is given no other ones (pilot.md J4)."""

from __future__ import annotations

import re

import pytest

from mast.common.path_templates import is_template, regex, uri_template


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/a/{*}", True, id="one"),
        pytest.param("/a/{**}", True, id="any"),
        pytest.param("/a}", True, id="bad"),
        pytest.param("/a*", False, id="pattern"),
    ],
)
def test_is_template(path: str, expected: bool) -> None:
    assert is_template(path) is expected


@pytest.mark.parametrize(
    ("path", "template"),
    [
        pytest.param("/{*}", "/*", id="one"),
        pytest.param("/a/{*}/b/{*}", "/a/*/b/*", id="several"),
        pytest.param("/{*}/{**}", "/*/**", id="any-at-the-end"),
        pytest.param("/{**}/a.b", "/**/a.b", id="literal-after-any"),
        pytest.param("/{*}/", "/*/", id="slash-at-the-end"),
        pytest.param("/-._~%!$&'()+,;:@=/{*}", "/-._~%!$&'()+,;:@=/*", id="characters"),
        pytest.param("/" + "a" * 253 + "/{*}", "/" + "a" * 253 + "/*", id="longest"),
    ],
)
def test_uri_template(path: str, template: str) -> None:
    assert uri_template(path) == template


@pytest.mark.parametrize(
    ("path", "why"),
    [
        pytest.param("{*}", "must begin", id="no-slash"),
        pytest.param("/{x}", "'{x}' cannot be", id="name"),
        pytest.param("/a{*}", "'a{[*]}' cannot be", id="part-of-a-part"),
        pytest.param("/{*", "cannot be", id="open-brace"),
        pytest.param("/a*/{*}", "'a[*]' cannot be", id="asterisk"),
        pytest.param("/a b/{*}", "'a b' cannot be", id="space"),
        pytest.param("/é/{*}", "'é' cannot be", id="beyond-ascii"),
        pytest.param("/a//{*}", "'' cannot be", id="empty-part"),
        pytest.param("/{*}//", "'' cannot be", id="two-slashes-at-the-end"),
        pytest.param("/{**}/{*}", "may follow", id="one-after-any"),
        pytest.param("/{**}/a/{**}", "may follow", id="any-after-any"),
        pytest.param("/" + "a" * 254 + "/{*}", "too long", id="length"),
    ],
)
def test_bad_templates(path: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        uri_template(path)


@pytest.mark.parametrize(
    ("path", "matching", "others"),
    [
        pytest.param("/a/{*}/b", ["/a/x/b"], ["/a/b", "/a/x/y/b", "/a//b"], id="one"),
        pytest.param("/a/{**}", ["/a/", "/a/x", "/a/x/y"], ["/a", "/b/x"], id="any"),
        pytest.param("/a.b/{*}", ["/a.b/x"], ["/aXb/x"], id="literal"),
    ],
)
def test_regex(path: str, matching: list[str], others: list[str]) -> None:
    expression = re.compile(regex(path))
    assert all(map(expression.fullmatch, matching))
    assert not any(map(expression.fullmatch, others))
