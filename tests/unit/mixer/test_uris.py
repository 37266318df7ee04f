"""URIs (mixer.md E24; checklist 34)."""

from __future__ import annotations

import pytest

from mast.common.expressions.tree import EvaluationError
from mast.mixer.core.lang.uris import same_uri, uri


@pytest.mark.parametrize(
    "text",
    ["http://example.com/a?b=c#d", "HTTP://x", "/path", "path/x:y", "*", "mailto:a@b", "urn:x:y",
     "http://u:p@h:80/", "http://[::1]:8080/x", "//host/path", "///path", "http://h:/", "http://ü/",
     "http://h/%20", "http://%e4%bd%a0/", "?q", "#f", "http://", "x+y-z.1:/a"],
)  # fmt: skip
def test_uris(text: str) -> None:
    assert uri(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (":foo", "missing protocol scheme"),
        ("1a:b", "first path segment in URL cannot contain colon"),
        ("a b:c/d", "first path segment in URL cannot contain colon"),
        ("http://h:x/", 'invalid port ":x" after host'),
        ("http://[::1", "missing ']' in host"),
        ("http://[::1]x/", 'invalid port "x" after host'),
        ("http://h/%zz", 'invalid URL escape "%zz"'),
        ("http://h/#%z", 'invalid URL escape "%z"'),
        ("http://h%20/", 'invalid URL escape "%20"'),
        ("http://a b/", 'invalid character " " in host name'),
        ("http://u\\@h/", "net/url: invalid userinfo"),
        ("http://h/\n", "net/url: invalid control character in URL"),
    ],
)
def test_no_uris(text: str, reason: str) -> None:
    with pytest.raises(EvaluationError) as failed:
        uri(text)
    assert str(failed.value) == (
        f"error converting string to uri '{text}': 'parse {text}: {reason}'"
    )


def test_nothing_is_no_uri() -> None:
    with pytest.raises(EvaluationError) as failed:
        uri("")
    assert str(failed.value) == "error converting string to uri: empty string"


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        pytest.param("HTTP://x/", "http://x/", True, id="scheme-in-any-case"),
        pytest.param("http://Example.com/", "http://example.COM/", True, id="host-as-dns"),
        pytest.param("http://x./", "http://x/", True, id="trailing-dot"),
        pytest.param("http://x/", "http://x", False, id="slash-is-not-empty-path"),
        pytest.param("http://x:/", "http://x/", True, id="bare-colon-is-no-port"),
        pytest.param("http://x:80/", "http://x/", False, id="port-is-literal"),
        pytest.param("http://x/A", "http://x/a", False, id="path-is-exact"),
        pytest.param("http://x/?", "http://x/", False, id="query-is-exact"),
        pytest.param("http://u@x/", "http://x/", False, id="user"),
        pytest.param("ftp://X/", "ftp://x/", False, id="host-exact-elsewhere"),
        pytest.param("ftp://x:/", "ftp://x/", False, id="port-exact-elsewhere"),
        pytest.param("URN:a", "urn:a", True, id="opaque"),
        pytest.param("http:/a", "http:/a", True, id="no-host"),
        pytest.param("http:/a", "http://x/a", False, id="one-without-host"),
    ],
)
def test_same_uri(left: str, right: str, same: bool) -> None:
    assert same_uri(left, right) is same


def test_comparing_with_no_uri_is_an_error() -> None:
    with pytest.raises(EvaluationError):
        same_uri("http://x", ":")
