"""Secrets as they are stored and shown."""

from __future__ import annotations

import pytest

from mast.common.sealing import Sealed, unseal
from mast.galley.core.objects import ConfigObject, Defaults, read_text
from mast.galley.core.resources import resource, shown, stored
from mast.galley.core.sealed import NoSealingKey, sealed
from mastapi.kubernetes.v1 import credentials_pb2

KEY, OTHER = bytes(range(32)), bytes(32)
TEXT = """
apiVersion: v1
kind: Secret
metadata: {name: web, namespace: edge, labels: {a: b}}
stringData: {tls.key: very private}
data: {tls.crt: cHVibGlj}
"""


def secret(text: str = TEXT) -> ConfigObject:
    (found,) = read_text(text, "test.yaml", Defaults()).objects
    return found


def test_what_is_stored_can_be_opened_in_its_place_only() -> None:
    found = sealed(secret(), KEY)
    assert found.key == "secrets/edge/web"
    record = Sealed(found.spec.key_id, found.spec.nonce, found.spec.ciphertext)
    opened = credentials_pb2.Secret.FromString(unseal(record, KEY, "secrets/edge/web"))
    assert dict(opened.data) == {"tls.crt": b"public", "tls.key": b"very private"}
    assert (opened.type, dict(opened.string_data)) == ("Opaque", {})


def test_nothing_readable_is_stored_but_names() -> None:
    stored_bytes = resource(sealed(secret(), KEY), 1, None).SerializeToString()
    assert b"private" not in stored_bytes
    assert b"public" not in stored_bytes
    assert b"tls.key" in stored_bytes


def test_values_are_not_shown() -> None:
    content = resource(sealed(secret(), KEY), 1, None).SerializeToString()
    found = shown(stored("secrets/edge/web", content, 7))
    assert (found.api_version, found.kind) == ("v1", "Secret")
    assert (found.metadata.name, found.metadata.namespace) == ("web", "edge")
    assert dict(found.spec) == {
        "type": "Opaque",
        "data": {"tls.crt": "[redacted]", "tls.key": "[redacted]"},
    }


def test_what_is_shown_cannot_be_stored() -> None:
    again = read_text(TEXT.replace("cHVibGlj", "'[redacted]'"), "test.yaml", Defaults())
    assert [each.rule for each in again.problems] == ["wrong-type"]


def test_equal_secrets_have_equal_forms() -> None:
    assert sealed(secret(), KEY).spec == sealed(secret(), KEY).spec
    others = [
        sealed(secret(), OTHER),
        sealed(secret(TEXT.replace("name: web", "name: api")), KEY),
        sealed(secret(TEXT.replace("very private", "more private")), KEY),
    ]
    assert sealed(secret(), KEY).spec.nonce not in {each.spec.nonce for each in others}


def test_nothing_is_stored_without_a_key() -> None:
    with pytest.raises(NoSealingKey, match="Secret edge/web"):
        sealed(secret(), None)
    with pytest.raises(TypeError, match="stored sealed"):
        resource(secret(), 1, None)
