"""Sessions that stick to an endpoint, even while it drains (pilot.md F4)."""

from collections.abc import Mapping
from typing import Final

from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import (
    StatefulSession,
    StatefulSessionPerRoute,
)
from envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from envoy.extensions.http.stateful_session.header.v3.header_pb2 import HeaderBasedSessionState
from envoy.type.http.v3.cookie_pb2 import Cookie
from google.protobuf.any_pb2 import Any

from mast.pilot.core.model.model import PERSISTENT_SESSION, PERSISTENT_SESSION_HEADER, Service
from mast.pilot.core.packing import packed, typed_extension

STATEFUL_SESSION_FILTER: Final = "envoy.filters.http.stateful_session"


def session_config(service: Service) -> Mapping[str, Any]:
    """Per-route configuration for requests to a service; empty without a persistent-session label.

    The label `istio.io/persistent-session` holds `COOKIE` or `COOKIE:PATH`, and wins over
    `istio.io/persistent-session-header`, which holds a header name.
    """
    cookie = service.labels.get(PERSISTENT_SESSION, "")
    header = service.labels.get(PERSISTENT_SESSION_HEADER, "")
    if cookie:
        name, _, path = cookie.partition(":")
        state = typed_extension(
            "envoy.http.stateful_session.cookie",
            CookieBasedSessionState(cookie=Cookie(name=name, path=path or "/")),
        )
    elif header:
        state = typed_extension(
            "envoy.http.stateful_session.header", HeaderBasedSessionState(name=header)
        )
    else:
        return {}
    per_route = StatefulSessionPerRoute(stateful_session=StatefulSession(session_state=state))
    return {STATEFUL_SESSION_FILTER: packed(per_route)}
