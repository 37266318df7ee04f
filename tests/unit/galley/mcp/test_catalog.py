"""Collections and snapshots of them."""

from __future__ import annotations

from istio.mcp.v1alpha1 import metadata_pb2, resource_pb2
from mast.common.keys import config_key
from mast.galley.core.mcp.catalog import COLLECTIONS, NOTHING, SYNTHETIC, Catalog, Collection

RULES = "istio/networking/v1alpha3/destinationrules"
WIDE = "istio/authentication/v1alpha1/meshpolicies"
SECRETS = "k8s/core/v1/secrets"


def content(generation: int = 1) -> bytes:
    meta = metadata_pb2.Metadata(name="whatever", version=str(generation), labels={"x": "y"})
    return resource_pb2.Resource(metadata=meta).SerializeToString()


def versions(collection: Collection) -> dict[str, str]:
    return {name: found.metadata.version for name, found in collection.resources.items()}


def test_resources_have_names_and_versions_of_their_own() -> None:
    catalog = Catalog()
    changes = [
        (config_key(RULES, "shop", "a"), content(), 7),
        (config_key(WIDE, "", "default"), content(), 8),
    ]
    assert catalog.apply(changes, 9) == []
    found = catalog.snapshot()
    (rule,) = found.collection(RULES).resources.values()
    assert (rule.metadata.name, rule.metadata.version) == ("shop/a", "7"), "labels change it, too"
    assert rule.metadata.labels == {"x": "y"}
    assert versions(found.collection(RULES)) == {"shop/a": "7"}
    assert versions(found.collection(WIDE)) == {"default": "8"}
    assert found.collection(RULES).version == "9"


def test_a_snapshot_stays_and_shares_what_did_not_change() -> None:
    catalog = Catalog()
    key = config_key(RULES, "shop", "a")
    catalog.apply([(key, content(), 7), (config_key(WIDE, "", "default"), content(), 7)], 7)
    before = catalog.snapshot()
    catalog.apply([(key, None, 8)], 8)
    after = catalog.snapshot()
    assert versions(before.collection(RULES)) == {"shop/a": "7"}
    assert versions(after.collection(RULES)) == {}
    assert after.collection(RULES).version == "8"
    assert after.collection(WIDE) is before.collection(WIDE)


def test_what_holds_nothing_is_empty() -> None:
    assert Catalog().snapshot().collection(RULES) is NOTHING


def test_one_collection_may_come_from_elsewhere() -> None:
    catalog = Catalog()
    catalog.apply([(config_key(RULES, "shop", "a"), content(), 7)], 7)
    before, other = catalog.snapshot(), Collection("9")
    after = before.having(SYNTHETIC, other)
    assert after.collection(SYNTHETIC) is other
    assert after.collection(RULES) is before.collection(RULES)
    assert before.collection(SYNTHETIC) is NOTHING


def test_secrets_are_not_told() -> None:
    catalog = Catalog()
    catalog.apply([(config_key(SECRETS, "shop", "tls"), content(), 7)], 7)
    assert dict(catalog.snapshot().collections) == {}
    assert SECRETS not in COLLECTIONS


def test_the_last_good_one_stays() -> None:
    catalog = Catalog()
    key = config_key(RULES, "shop", "a")
    catalog.apply([(key, content(), 7)], 7)
    (problem,) = catalog.apply([(key, b"\xff", 8), ("config/nonsense", b"", 8)], 8)[:1]
    assert "not a Resource" in str(problem)
    assert versions(catalog.snapshot().collection(RULES)) == {"shop/a": "7"}
