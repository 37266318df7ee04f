"""Persistent sessions (pilot.md F4)."""

from collections.abc import Mapping

import pytest

from mast.pilot.core.filters.persistent_sessions import STATEFUL_SESSION_FILTER, session_config
from mast.pilot.core.model.model import Service
from tests.support.messages import plain

COOKIE, HEADER = "istio.io/persistent-session", "istio.io/persistent-session-header"


@pytest.mark.parametrize(
    ("labels", "state"),
    [
        ({COOKIE: "c"}, {"cookie": {"name": "c", "path": "/"}}),
        ({COOKIE: "c:/p"}, {"cookie": {"name": "c", "path": "/p"}}),
        ({HEADER: "x-session"}, {"name": "x-session"}),
        ({HEADER: "x", COOKIE: "c"}, {"cookie": {"name": "c", "path": "/"}}),
    ],
    ids=["cookie", "path", "header", "cookie-wins"],
)
def test_session_config(labels: Mapping[str, str], state: dict[str, object]) -> None:
    config = session_config(Service(host="a", namespace="b", ports=(), labels=labels))
    found = plain(config[STATEFUL_SESSION_FILTER])["stateful_session"]["session_state"]
    del found["typed_config"]["@type"]
    assert found["typed_config"] == state
    assert found["name"].endswith("cookie" if "cookie" in state else "header")


def test_without_labels() -> None:
    assert session_config(Service(host="a", namespace="b", ports=())) == {}
