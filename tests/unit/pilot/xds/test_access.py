"""Who may connect as which proxy (pilot.md A5)."""

import pytest

from mast.common.spiffe import SpiffeId
from mast.pilot.core.xds.access import NotAllowed, Unauthenticated, verify
from tests.fakes.pilot_views import proxy

WEB = "spiffe://cluster.local/ns/shop/sa/web"


@pytest.mark.parametrize(
    ("metadata", "identities"),
    [
        pytest.param({}, (WEB,), id="any-account-of-the-namespace"),
        pytest.param({"SERVICE_ACCOUNT": "web"}, (WEB,), id="the-claimed-account"),
        pytest.param(
            {"SERVICE_ACCOUNT": "web"},
            ("spiffe://cluster.local/ns/shop/sa/other", WEB),
            id="one-of-several",
        ),
    ],
)
def test_allowed(metadata, identities):
    assert verify(proxy(**metadata), identities) == SpiffeId("cluster.local", "shop", "web")


@pytest.mark.parametrize(
    ("metadata", "identities", "reason"),
    [
        pytest.param(
            {"NAMESPACE": "bank"}, (WEB,), "claims namespace 'bank'", id="foreign-namespace"
        ),
        pytest.param(
            {"SERVICE_ACCOUNT": "admin"}, (WEB,), "service account 'admin'", id="foreign-account"
        ),
        pytest.param({}, ("spiffe://cluster.local/web",), "want spiffe://", id="no-istio-identity"),
    ],
)
def test_refused(metadata, identities, reason):
    with pytest.raises(NotAllowed, match=reason):
        verify(proxy(**metadata), identities)


def test_a_certificate_is_required():
    with pytest.raises(Unauthenticated, match="a client certificate is required"):
        verify(proxy(), ())
