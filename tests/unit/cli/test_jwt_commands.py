"""mastctl jwt: keys and tokens that proxies take, and what is told of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mast.cli import tokens
from mast.cli.errors import CommandError
from mast.cli.main import app
from mast.common.jwks import key_set
from tests.support.tokens import Issuer, public_part

SAMPLES = Path(__file__).parents[3] / "samples" / "bookinfo" / "security"


def jwt(*arguments: str, status: int = 0, input: str | None = None) -> str:
    ended = CliRunner().invoke(app, ["jwt", *arguments], input=input)
    if isinstance(ended.exception, CommandError):
        raise ended.exception
    assert ended.exit_code == status, ended.output
    return ended.stdout


def shown(text: str) -> Any:
    return json.loads(text)


@pytest.fixture(params=["ES256", "RS256"])
def key(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "key.jwk"
    jwt("new", str(path), "--algorithm", request.param, "--kid", "mine")
    return path


def test_nobody_else_reads_a_new_key(key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandError, match="File exists"):
        jwt("new", str(key))


def test_what_is_published_is_usable_and_public(key: Path) -> None:
    text = jwt("keys", str(key))
    found = key_set(text, published=True)
    assert (found.number, found.defects) == (1, ())
    assert "d" not in shown(text)["keys"][0]


def test_a_token_from_key_to_claims(key: Path, tmp_path: Path) -> None:
    published = tmp_path / "keys.json"
    published.write_text(jwt("keys", str(key)))
    token = jwt(
        *("sign", str(key), "--issuer", "https://i", "--subject", "ann", "--lifetime", "2m"),
        *("--audience", "a", "--audience", "b", "--claim", 'groups=["x"]', "--claim", "name=Ann"),
    )
    found = shown(jwt("show", token.strip(), "--keys", str(published)))
    claims = found["claims"]
    assert claims.pop("exp") - claims.pop("iat") == 120
    assert claims == {
        "iss": "https://i",
        "sub": "ann",
        "aud": ["a", "b"],
        "groups": ["x"],
        "name": "Ann",
    }
    assert found["header"]["kid"] == found["signedBy"] == "mine"
    assert shown(jwt("show", "-", input=token))["claims"]["sub"] == "ann"


def test_signatures_of_others_are_told(key: Path, tmp_path: Path) -> None:
    published = tmp_path / "keys.json"
    published.write_text(jwt("keys", str(key)))
    for issuer in (Issuer("https://i", "RS256", "mine"), Issuer("https://i", "ES256", "mine")):
        token = issuer.token()
        output = jwt("show", token, "--keys", str(published), status=1)
        assert shown(output)["signedBy"] is None


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_tokens_of_other_makers_are_verified(algorithm: str, tmp_path: Path) -> None:
    issuer = Issuer("https://i", algorithm)
    path = tmp_path / "keys.json"
    path.write_text(issuer.jwks)
    assert shown(jwt("show", issuer.token(), "--keys", str(path)))["signedBy"] == "k1"


def test_a_token_may_have_ended(key: Path) -> None:
    token = jwt("sign", str(key), "--issuer", "i", "--lifetime", "-5s")
    claims = shown(jwt("show", token.strip()))["claims"]
    assert claims["exp"] == claims["iat"] - 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["sign", "KEY", "--issuer", "i", "--claim", "x"], "write NAME", id="claim"),
        pytest.param(["sign", "KEY", "--issuer", "i", "--lifetime", "x"], "no duration", id="time"),
        pytest.param(["sign", "missing", "--issuer", "i"], "No such file", id="no-file"),
        pytest.param(["sign", "TEXT", "--issuer", "i"], "not JSON", id="no-json"),
        pytest.param(["sign", "LIST", "--issuer", "i"], "not a JSON object", id="no-object"),
        pytest.param(["sign", "OTHER", "--issuer", "i"], "not a JSON Web Key", id="no-key"),
        pytest.param(["sign", "PUBLIC", "--issuer", "i"], "the key has no 'd'", id="public-key"),
        pytest.param(["sign", "BENT", "--issuer", "i"], "the key is no ", id="no-point"),
        pytest.param(["sign", "OCT", "--issuer", "i"], "known: RSA, EC P-256", id="symmetric"),
        pytest.param(["show", "a.b"], "this text 2", id="two-parts"),
        pytest.param(["show", "a.b.c"], "header of the token is not JSON", id="letters"),
        pytest.param(["show", "AAAA.AAAA.AAAA"], "is not JSON", id="no-json-inside"),
        pytest.param(["show", "W10.e30.AAAA"], "is no JSON object", id="list-inside"),
        pytest.param(["show", "e30.e30.AAAA", "--keys", "OTHER"], "needs 'keys'", id="no-key-set"),
        pytest.param(["show", "e30.e30.AAAA", "--keys", "SET"], "'alg' None", id="no-algorithm"),
    ],
)  # fmt: skip
def test_what_is_wrong(arguments: list[str], message: str, tmp_path: Path) -> None:
    public = public_part(Issuer("i", "ES256").private)
    files = {
        "KEY": tokens.new_key(tokens.Algorithm.ES256, "k"),
        "PUBLIC": public,
        "BENT": {**public, "y": public["x"], "d": "AA"},
        "OCT": {"kty": "oct", "k": "AAAA"},
        "LIST": [],
        "OTHER": {},
        "SET": {"keys": []},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "TEXT").write_text("{")
    known = {*files, "TEXT"}
    given_files = [str(tmp_path / each) if each in known else each for each in arguments]
    with pytest.raises(CommandError, match=message):
        jwt(*given_files)


def test_the_sample_goes_together() -> None:
    """The key that everybody has signs what the policy of the sample takes."""
    policy = yaml.safe_load((SAMPLES / "tokens.yaml").read_text())
    (rule,) = policy["spec"]["jwtRules"]
    token = jwt("sign", str(SAMPLES / "demo.jwk"), "--issuer", rule["issuer"])
    keys = json.loads(key_set(rule["jwks"], published=True).text)["keys"]
    assert tokens.verified_by(tokens.read(token), keys) == "bookinfo-demo"


PARTS = st.text(alphabet="abcAB012-_=.+/é {}", max_size=40)


@given(st.lists(PARTS, max_size=5).map(".".join) | st.text())
def test_no_text_is_too_strange(text: str) -> None:
    try:
        found = tokens.read(text)
    except tokens.NotAToken:
        return
    assert isinstance(found.claims, dict)


@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d"]), st.text() | st.integers()
    )
)
def test_no_key_is_too_strange(key: dict[str, Any]) -> None:
    for text in ("RSA", "EC"):
        with pytest.raises(tokens.NotAToken):
            tokens.signed({}, {**key, "kty": text, "crv": "P-256"})
