"""What is taken out of logs before they are written."""

import json

import pytest
import structlog

from mast.common.process.redaction import REDACTED, redacted, redacted_text
from mast.common.process.telemetry import configure_logging
from tests.support.pki import Ca

PAIR = Ca.root().leaf(dns=["a"])
KEY, CHAIN = PAIR.key.decode(), PAIR.chain.decode()
TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"  # noqa: S105


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param(f"a {KEY}b", f"a {REDACTED}\nb", id="key"),
        pytest.param(KEY[:60], REDACTED, id="beginning-of-a-key"),
        pytest.param(KEY + CHAIN + KEY, f"{REDACTED}\n{CHAIN}{REDACTED}\n", id="certificate-stays"),
        pytest.param(f"token {TOKEN}, bad", f"token {REDACTED}, bad", id="token"),
        pytest.param(f"{TOKEN.rpartition('.')[0]}.", REDACTED, id="unsigned-token"),
        pytest.param(
            "Authorization: Bearer abc.def-123", f"Authorization: Bearer {REDACTED}", id="bearer"
        ),
        pytest.param("basic dXNlcjpwYXNz", f"basic {REDACTED}", id="basic"),
        pytest.param("redis://:secret@a:1/0", f"redis://:{REDACTED}@a:1/0", id="url"),
        pytest.param("spiffe://td/ns/a/sa/b", "spiffe://td/ns/a/sa/b", id="identity"),
        pytest.param("a basic rule", "a basic rule", id="word"),
        pytest.param(CHAIN, CHAIN, id="certificate"),
    ],
)
def test_texts(text: str, shown: str) -> None:
    assert redacted_text(text) == shown


def test_values_are_searched_all_the_way() -> None:
    found = redacted({"a": [1, (None, KEY)], "b": {"c": ValueError(f"bad {TOKEN}")}})
    assert found == {"a": [1, [None, f"{REDACTED}\n"]], "b": {"c": f"bad {REDACTED}"}}


def test_logs_tell_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Not in keys, not in the text of an error, not in what was bound."""
    configure_logging("test")
    try:
        raise ValueError(f"cannot use {KEY}")
    except ValueError as error:
        log = structlog.get_logger().bind(caller=f"Bearer {TOKEN}")
        log.warning("thing.failed", url="http://me:secret@a", error=error, exc_info=error)
    line = capsys.readouterr().out
    assert json.loads(line)["url"] == f"http://me:{REDACTED}@a"
    assert not [each for each in ("PRIVATE", TOKEN, "secret") if each in line]
    structlog.reset_defaults()
