"""The file of a backup: what is in it is verified before anybody is told of it."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mast.cli.backup.archive import Item, read, writing
from mast.cli.errors import CommandError
from mast.common.keys import CA, CONFIG, JWKS, SECRETS, TRUST
from mast.common.sealing import key_id
from mastapi.trust.v1.trust_pb2 import TrustBundle
from tests.support.backups import HEADER, authority, config, published, secret, written
from tests.support.pki import wall_clock

CA_SEAL, SECRETS_SEAL = b"c" * 32, b"s" * 32
Lines = list[dict[str, Any]]


def items() -> list[Item]:
    bundle = TrustBundle(trust_domain="cluster.local", sequence=1).SerializeToString()
    return [
        authority(CA_SEAL, wall_clock())[0],
        Item("trust/cluster.local", bundle, 2),
        secret(SECRETS_SEAL),
        published("https://a.test/keys"),
        config("a"),
        config("b"),
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, wanted = tmp_path / "b", items()
    found = written(path, wanted)
    assert (found.items, found.header, found.keys) == (tuple(wanted), HEADER, None)
    assert found.end.counts == {CA: 1, TRUST: 1, SECRETS: 1, JWKS: 1, CONFIG: 2}
    assert found.end.key_ids == {"ca": (key_id(CA_SEAL),), "secrets": (key_id(SECRETS_SEAL),)}
    assert found.end.trust_domains == ("cluster.local",)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "b"
    before = written(path, items())
    with pytest.raises(RuntimeError), writing(path, HEADER):
        raise RuntimeError
    assert read(path) == before
    assert list(tmp_path.iterdir()) == [path]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flipped(path: Path) -> None:
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content.replace(b'"revision": 5', b'"revision": 6', 1)))


def without_a_line(path: Path) -> None:
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join([*lines[:2], *lines[3:]])))


def sealed_anew(change: Callable[[Lines], None]) -> Callable[[Path], None]:
    """Another content with its own, right checksum."""

    def changed(path: Path) -> None:
        lines = list(map(json.loads, gzip.decompress(path.read_bytes()).splitlines()))
        change(lines)
        *others, last = lines
        text = b"".join(json.dumps(each).encode() + b"\n" for each in others)
        last["sha256"] = hashlib.sha256(text).hexdigest()
        path.write_bytes(gzip.compress(text + json.dumps(last).encode() + b"\n"))

    return changed


def item(at: int, **fields: Any) -> Callable[[Path], None]:
    return sealed_anew(lambda lines: lines[at].update(fields))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(cut, "cut, damaged", id="cut"),
        pytest.param(lambda path: path.write_text("x"), "cut, damaged", id="no-gzip"),
        pytest.param(lambda path: path.unlink(), "No such file", id="absent"),
        pytest.param(flipped, "checksum", id="tampered"),
        pytest.param(without_a_line, "checksum", id="a-line-less"),
        pytest.param(item(0, version=2), "format 2; this mastctl understands 1", id="newer"),
        pytest.param(item(0, format="other"), "not a header", id="other-format"),
        pytest.param(item(1, value="eHh4"), "ca/authority", id="no-authority"),
        pytest.param(item(6, value="////"), "not a Resource", id="no-resource"),
        pytest.param(item(6, key="config/istio/x/y"), "config/istio/x/y", id="unknown-kind"),
        pytest.param(item(6, key="quota/a/b"), "does not belong", id="what-is-made-anew"),
        pytest.param(item(6, key="ca/join-tokens/a"), "does not belong", id="join-token"),
        pytest.param(item(6, key="ca/new"), "nothing of this name", id="unknown-to-us"),
        pytest.param(
            sealed_anew(lambda lines: lines.insert(6, dict(lines[6]))), "twice", id="twice"
        ),
        pytest.param(sealed_anew(lambda lines: lines.pop(6)), "should hold", id="counts"),
    ],
)
def test_refused(damage: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    path = tmp_path / "b"
    written(path, items())
    damage(path)
    with pytest.raises(CommandError, match=said):
        read(path)
