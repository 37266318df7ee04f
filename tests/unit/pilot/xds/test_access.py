"""Who may connect as which proxy (pilot.md A5)."""

from contextlib import nullcontext

import pytest

from mast.common.identity.spiffe import SpiffeId
from mast.pilot.core.xds.access import (
    NotAllowed,
    Unauthenticated,
    verify,
    verify_generator,
    viewer,
)
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


class TestViewers:
    """Who may see which debug pages (pilot.md B28)."""

    @pytest.mark.parametrize(
        ("namespace", "page", "proxy_namespace", "allowed"),
        [
            ("istio-system", "syncz", "shop", True),
            ("istio-system", "config_dump", "shop", True),
            ("shop", "config_dump", "shop", True),
            ("shop", "edsz", "bank", False),
            ("shop", "syncz", "shop", False),
        ],
    )
    def test_see(self, namespace, page, proxy_namespace, allowed):
        who = viewer(namespace, "istio-system")
        with nullcontext() if allowed else pytest.raises(NotAllowed):
            who.check_page(page)
            who.check_proxy(proxy_namespace)


@pytest.mark.parametrize("generator", ["api", "event"])
def test_generators_of_control_planes(generator):
    """B27."""
    wanting = proxy(GENERATOR=generator)
    verify_generator(wanting, SpiffeId("cluster.local", "istio-system", "pilot"), "istio-system")
    with pytest.raises(NotAllowed, match="not of the control plane"):
        verify_generator(wanting, SpiffeId("cluster.local", "shop", "web"), "istio-system")
    with pytest.raises(Unauthenticated):
        verify_generator(wanting, None, "istio-system")


def test_other_generators_are_for_everybody():
    verify_generator(proxy(GENERATOR="grpc"), None, "istio-system")
    verify_generator(proxy(), None, "istio-system")
