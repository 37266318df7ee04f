"""Where keys are published, as it is shown to people."""

import pytest

from mast.pilot.core.model.public_keys import KeySource, shown


@pytest.mark.parametrize(
    ("source", "text"),
    [
        pytest.param(KeySource(jwks_uri="https://a.test/k"), "https://a.test/k", id="uri"),
        pytest.param(
            KeySource(issuer="https://a.test/x/"),
            "https://a.test/x/.well-known/openid-configuration",
            id="discovery",
        ),
        pytest.param(
            KeySource(jwks_uri="http://me:secret@a.test:81/k?token=secret#f"),
            "http://a.test:81/k",
            id="secrets",
        ),
        pytest.param(KeySource(jwks_uri="https://[::1]:8/k"), "https://[::1]:8/k", id="ipv6"),
        pytest.param(KeySource(jwks_uri="https://u:p@[::1/k?q"), "[::1/k", id="no-url"),
        pytest.param(KeySource(jwks_uri="https://a:999999/k?q"), "https://a:999999/k", id="port"),
    ],
)
def test_shown(source: KeySource, text: str) -> None:
    assert shown(source.url) == str(source) == text
