"""mastctl ca issued and join-token: what is told of certificates."""

from __future__ import annotations

import json
from typing import Any

from mast.cli.issued_commands import COLUMNS, data_of, rows_of
from mastapi.citadel.v1 import issued_pb2

ME = "spiffe://cluster.local/ns/shop/sa/reviews"


def certificate(**fields: Any) -> issued_pb2.IssuedCertificate:
    settings = {
        "serial": "5d0c",
        "names": [ME, "reviews.example"],
        "key": "P-256",
        "authenticator": "Kubernetes token",
        "peer": "10.0.0.7",
        "issuer": "O=cluster.local",
    }
    made = issued_pb2.IssuedCertificate(**(settings | fields))
    made.not_before.FromSeconds(1714557600)
    made.not_after.FromSeconds(1714561200)
    return made


def test_a_row_for_each() -> None:
    own, others = rows_of([certificate(), certificate(caller="spiffe://x/ns/a/sa/node")])
    assert dict(zip(COLUMNS, own, strict=True)) == {
        "SERIAL": "5d0c",
        "NAMES": f"{ME}, reviews.example",
        "NOT AFTER": "2024-05-01 11:00:00Z",
        "KEY": "P-256",
        "RECOGNISED BY": "Kubernetes token",
        "PEER": "10.0.0.7",
    }
    assert others[4] == "Kubernetes token for spiffe://x/ns/a/sa/node"


def test_the_same_for_programs() -> None:
    (found,) = data_of([certificate(caller="c")])
    assert json.loads(json.dumps(found)) == found
    assert found["notAfter"] == "2024-05-01T11:00:00Z"
    assert (found["names"], found["caller"]) == ([ME, "reviews.example"], "c")
