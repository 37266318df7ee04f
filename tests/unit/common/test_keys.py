"""The key schema."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast.common import keys
from mast.common.keys import ConfigKey, config_key, parse_config_key

VIRTUAL_SERVICES = "istio/networking/v1alpha3/virtualservices"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param(
            config_key(VIRTUAL_SERVICES, "shop", "reviews"),
            "config/istio/networking/v1alpha3/virtualservices/shop/reviews",
            id="config",
        ),
        pytest.param(
            config_key("istio/rbac/v1alpha1/clusterrbacconfigs", "", "default"),
            "config/istio/rbac/v1alpha1/clusterrbacconfigs/-/default",
            id="cluster-scoped-config",
        ),
        pytest.param(
            config_key(keys.SECRETS_COLLECTION, "shop", "tls"), "secrets/shop/tls", id="secret"
        ),
        pytest.param(
            keys.service_key("shop", "*.example.com"),
            "registry/services/shop/*.example.com",
            id="service",
        ),
        pytest.param(
            keys.service_key("shop", "a.test", "east"),
            "registry/services/shop/a.test/east",
            id="service-of-a-cluster",
        ),
        pytest.param(keys.cluster_key("east"), "registry/clusters/east", id="cluster"),
        pytest.param(
            keys.clusters_status_key("galley-0"), "status/clusters/galley-0", id="clusters"
        ),
        pytest.param(
            keys.workload_key("Kubernetes", "shop", "reviews-v1-10.0.0.1"),
            "registry/workloads/Kubernetes/shop/reviews-v1-10.0.0.1",
            id="workload",
        ),
        pytest.param(
            keys.endpoints_key("shop", "reviews.shop.svc.cluster.local", "Kubernetes"),
            "registry/endpoints/shop/reviews.shop.svc.cluster.local/Kubernetes",
            id="endpoints",
        ),
        pytest.param(
            keys.endpoints_key("shop", "reviews.shop.svc.cluster.local", "Kubernetes", 12),
            "registry/endpoints/shop/reviews.shop.svc.cluster.local/Kubernetes/0012",
            id="part-of-endpoints",
        ),
        pytest.param(keys.trust_key("cluster.local"), "trust/cluster.local", id="trust"),
        pytest.param(
            keys.jwks_key("https://a.test/keys", ""),
            "jwks/2dc10f6e04c1eee189cf3fab935b708942f872e7d7775e5d5873da71fad3c83f",
            id="keys-of-an-issuer",
        ),
        pytest.param(
            keys.proxy_status_key("sidecar~10.0.0.1~a.b~b.svc.cluster.local"),
            "status/proxies/sidecar~10.0.0.1~a.b~b.svc.cluster.local",
            id="proxy-status",
        ),
        pytest.param(
            keys.gateway_status_key("k8s/a/v1/b", "", "c"),
            "status/gateways/k8s/a/v1/b/-/c",
            id="gateway",
        ),
        pytest.param(keys.leader_key("ingest"), "leader/ingest", id="leader"),
        pytest.param(keys.change_key("1-a"), "history/changes/1-a", id="change"),
        pytest.param(keys.replaced_key("1-a"), "history/replaced/1-a", id="replaced"),
        pytest.param(
            keys.collection_prefix(VIRTUAL_SERVICES),
            "config/istio/networking/v1alpha3/virtualservices/",
            id="collection",
        ),
        pytest.param(
            keys.collection_prefix(VIRTUAL_SERVICES, "shop"),
            "config/istio/networking/v1alpha3/virtualservices/shop/",
            id="collection-in-namespace",
        ),
        pytest.param(
            keys.collection_prefix("x/y", ""), "config/x/y/-/", id="collection-without-namespace"
        ),
    ],
)
def test_key(key: str, expected: str) -> None:
    assert key == expected


PART = st.text(
    st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda text: text != keys.NO_NAMESPACE)


@given(collection=st.lists(PART, min_size=1, max_size=4), namespace=PART | st.just(""), name=PART)
def test_a_config_key_names_its_object_again(
    collection: list[str], namespace: str, name: str
) -> None:
    wanted = ConfigKey("/".join(collection), namespace, name)
    assert parse_config_key(str(wanted)) == wanted


def test_a_secret_is_known_by_its_key() -> None:
    wanted = ConfigKey(keys.SECRETS_COLLECTION, "shop", "tls")
    assert parse_config_key("secrets/shop/tls") == wanted
    assert str(wanted) == "secrets/shop/tls"
    assert keys.collection_prefix(keys.SECRETS_COLLECTION) == "secrets/"


@pytest.mark.parametrize("key", ["secrets/", "secrets/a", "secrets/a/", "secrets/a/b/c"])
def test_other_keys_are_no_keys_of_secrets(key: str) -> None:
    with pytest.raises(ValueError, match="must be secrets/<namespace>/<name>"):
        parse_config_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "config/",
        "config/a/b",
        "config/a//b",
        "config//a/b",
        "trust/a/b/c",
        "config/a/b/",
    ],
)
def test_other_keys_are_no_config_keys(key: str) -> None:
    with pytest.raises(ValueError, match="must be config/<collection>"):
        parse_config_key(key)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: config_key("", "a", "b"), "collection ''", id="no-collection"),
        pytest.param(lambda: config_key("a/", "a", "b"), "collection 'a/'", id="slash-at-end"),
        pytest.param(lambda: config_key("a", "b/c", "d"), "namespace 'b/c'", id="namespace"),
        pytest.param(lambda: config_key("a", "b", ""), "name ''", id="no-name"),
        pytest.param(lambda: keys.leader_key("a/b"), "leader of 'a/b'", id="leader"),
        pytest.param(lambda: keys.service_key("", "h"), "namespace ''", id="no-namespace"),
        pytest.param(
            lambda: keys.config_status_key("a", "b", "c", "d/e"), "replica 'd/e'", id="replica"
        ),
    ],
)
def test_a_part_must_fit_between_slashes(make: Callable[[], str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_statuses_of_an_object_share_a_prefix() -> None:
    """What all replicas found out about it is one listing."""
    prefix = keys.config_status_prefix("istio/a/v1/bs", "", "c")
    assert prefix == "status/config/istio/a/v1/bs/-/c/"
    assert keys.config_status_key("istio/a/v1/bs", "", "c", "pilot-1") == f"{prefix}pilot-1"


def test_a_uri_and_an_issuer_are_two_sources() -> None:
    one, other = keys.jwks_key("https://a.test", ""), keys.jwks_key("", "https://a.test")
    assert one != other
