"""ALPN between sidecars (pilot.md E11)."""

from mast.pilot.core.filters.alpn import ALPN_FILTER, AS_DOWNSTREAM, alpn_filter
from tests.support.messages import plain, read


def test_filter_does_nothing_by_itself() -> None:
    assert plain(alpn_filter()) == read("""
        name: istio.alpn
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config
    """)


def test_value_follows_the_request() -> None:
    ((name, config),) = AS_DOWNSTREAM.items()
    assert name == ALPN_FILTER
    (state,) = plain(config)["on_request_headers"]
    assert state == read("""
        object_key: envoy.network.application_protocols
        shared_with_upstream: ONCE
        format_string:
          text_format_source:
            inline_string: "%CEL(request.protocol == 'HTTP/2' ? 'istio-h2,istio,h2'\\
              \\ : 'istio-http/1.1,istio,http/1.1')%"
    """)
