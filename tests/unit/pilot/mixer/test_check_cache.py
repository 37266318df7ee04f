"""The check cache that proxies run, in LuaJIT as Envoy has it (mixer_proxy.md C.1 to C.3, K4)."""

import pytest

from mast.pilot.core.mixer.filters import check_cache
from tests.support.lua_envoy import Exchange, LuaFilter

PATH = [["E", "request.path"]]
USER = [["E", "request.headers", "x-user"]]
ANONYMOUS = [["A", "request.headers", "x-user"]]


@pytest.fixture
def lua() -> LuaFilter:
    return LuaFilter(check_cache())


def ok(shape, *, uses=10000, valid_ms=60000, **more):
    """Metadata of a verdict that lets requests pass."""
    return {"check": {"shape": shape, "uses": uses, "valid_ms": valid_ms, **more}}


def denied(shape, **more):
    """Metadata of a denial."""
    denial = {"http": 403, "code": 7, "message": "no", "body": "PERMISSION_DENIED:no", **more}
    return ok(shape, denial=denial)


def granted(amount, *, asked=None, charge=1, shape=(), valid_ms=60000, name="rate"):
    """A grant as Mixer tells it."""
    asked = amount if asked is None else asked
    return {
        "name": name,
        "charge": charge,
        "asked": asked,
        "granted": amount,
        "valid_ms": valid_ms,
        "shape": list(shape),
    }


def limited(*grants, shape=PATH, quotas=None):
    """Metadata of a verdict with quotas."""
    charged = quotas or [
        {"name": g["name"], "charge": g["charge"], "shape": g["shape"]} for g in grants
    ]
    return {**ok(shape, quotas=charged), "grants": list(grants)}


# Shapes and keys (C2, C3)


@pytest.mark.parametrize(
    ("item", "stored", "same", "other"),
    [
        pytest.param(
            ["E", "request.path"], {":path": "/a?x=1"}, {":path": "/a?x=1"}, {":path": "/a"},
            id="path",
        ),
        pytest.param(
            ["E", "request.url_path"], {":path": "/a?x=1"}, {":path": "/a?x=2"}, {":path": "/b"},
            id="url-path-is-without-the-query",
        ),
        pytest.param(
            ["E", "request.query_params", "x"], {":path": "/a?x=1&x=3"}, {":path": "/b?y=2&x=1"},
            {":path": "/a?x=3"}, id="first-query-parameter",
        ),
        pytest.param(
            ["A", "request.query_params"], {":path": "/a"}, {":path": "/b"}, {":path": "/a?x"},
            id="no-query",
        ),
        pytest.param(["E", "request.method"], {}, {}, {":method": "POST"}, id="method"),
        pytest.param(["E", "request.host"], {}, {}, {":authority": "other"}, id="host"),
        pytest.param(
            ["E", "request.headers", "x-user"], {"x-user": "a"}, {"x-user": "a", "x": "1"},
            {"x-user": "b"}, id="header",
        ),
        pytest.param(
            ["A", "request.headers", "x-user"], {}, {"x": "1"}, {"x-user": ""}, id="no-header"
        ),
        pytest.param(
            ["E", "context.protocol"], {"content-type": "application/grpc"},
            {"content-type": "application/grpc+proto"}, {"content-type": "text/plain"},
            id="protocol",
        ),
        pytest.param(
            ["E", "request.useragent"], {"user-agent": "curl"}, {"user-agent": "curl"},
            {"user-agent": "wget"}, id="user-agent",
        ),
        pytest.param(
            ["E", "request.size"], {"content-length": "5"}, {"content-length": "5"}, {},
            id="absent-where-it-was-present",
        ),
    ],
)  # fmt: skip
def test_a_hit_must_agree_in_what_the_verdict_depends_on(lua, item, stored, same, other):
    lua.request(stored).answered(ok([item]), 0)

    assert lua.request(same, now=1).hit
    assert not lua.request(other, now=1).hit


@pytest.mark.parametrize(
    ("item", "stored", "other"),
    [
        pytest.param(
            ["E", "origin.ip"], {"remote": "10.0.0.1:1"}, {"remote": "10.0.0.9:1"}, id="ip"
        ),
        pytest.param(
            ["E", "origin.ip"], {"remote": "[fd00::1]:80"}, {"remote": "[fd00::2]:80"}, id="ipv6"
        ),
        pytest.param(["E", "destination.port"], {}, {"own": "10.0.0.2:1"}, id="port"),
        pytest.param(["E", "destination.ip"], {}, {"own": "10.0.0.3:9080"}, id="own-address"),
        pytest.param(
            ["E", "source.principal"], {"peer": "spiffe://td/ns/a/sa/x"},
            {"peer": "spiffe://td/ns/a/sa/y"}, id="principal",
        ),
        pytest.param(
            ["A", "source.principal"], {}, {"peer": "spiffe://td/ns/a/sa/y"}, id="no-principal"
        ),
        pytest.param(["E", "source"], {}, {"remote": "10.0.0.9:1"}, id="source-by-address"),
        pytest.param(
            ["E", "source"], {}, {"headers": {"x-mast-peer": "kubernetes://p.a,10.1.1.1"}},
            id="source-by-header",
        ),
        pytest.param(
            ["E", "source"], {}, {"headers": {"x-istio-attributes": "CgA="}}, id="source-by-message"
        ),
        pytest.param(
            ["E", "source"], {}, {"peer": "spiffe://td/ns/a/sa/x"}, id="source-by-certificate"
        ),
        pytest.param(["E", "connection.mtls"], {}, {"peer": "spiffe://x/y"}, id="mtls"),
        pytest.param(
            ["A", "connection.requested_server_name"], {}, {"sni": "a.b"}, id="server-name"
        ),
        pytest.param(
            ["E", "destination.service.host"],
            {"service": {"destination.service.host": "a"}},
            {"service": {"destination.service.host": "b"}},
            id="service",
        ),
    ],
)  # fmt: skip
def test_a_hit_must_agree_in_its_connection(lua, item, stored, other):
    lua.request(**stored).answered(ok([item]), 0)

    assert lua.request(**stored, now=1).hit
    assert not lua.request(**other, now=1).hit


@pytest.mark.parametrize("name", ["origin.ip", "source"])
@pytest.mark.parametrize(("edge", "hit"), [(True, False), (False, True)])
def test_at_the_edge_a_load_balancer_tells_who_calls(name, edge, hit):
    """It does so in front of the connection; inside, a header tells it, which nobody need believe.

    (mixer_proxy.md K "origin.ip", corrected.)
    """
    lua = LuaFilter(check_cache(edge=edge))
    lua.request(client="192.0.2.1:1").answered(ok([["E", name]]), 0)
    assert lua.request(client="192.0.2.1:2", now=1).hit
    assert lua.request(client="192.0.2.9:1", now=1).hit is hit


TOKEN = {"iss": "i", "sub": "s", "aud": ["a", "b"], "azp": "p", "groups": ["x", "", 5, "y"]}


@pytest.mark.parametrize(
    ("item", "tokens", "same", "other"),
    [
        pytest.param(
            ["E", "request.auth.principal"], {"payload": TOKEN}, {"payload": {**TOKEN, "azp": "q"}},
            {"payload": {**TOKEN, "sub": "t"}}, id="principal",
        ),
        pytest.param(
            ["A", "request.auth.principal"], {"payload": {"iss": "i"}}, None, {"payload": TOKEN},
            id="no-principal",
        ),
        pytest.param(
            ["E", "request.auth.audiences"], {"payload": TOKEN}, {"payload": {"aud": "a"}},
            {"payload": {"aud": ["b", "a"]}}, id="first-audience",
        ),
        pytest.param(
            ["E", "request.auth.presenter"], {"payload": TOKEN}, {"payload": {"azp": "p"}},
            {"payload": {"azp": 5}}, id="presenter",
        ),
        pytest.param(
            ["E", "request.auth.claims", "groups"], {"payload": TOKEN},
            {"payload": {"groups": "x,y"}}, {"payload": {"groups": {"x": "y"}}}, id="list-of-texts",
        ),
        pytest.param(
            ["A", "request.auth.claims", "groups"], {"payload": {"groups": []}}, None,
            {"payload": TOKEN}, id="no-such-claim",
        ),
        pytest.param(
            ["A", "request.auth.claims"], None, {"failed": "no table"}, {"payload": {}},
            id="no-token",
        ),
        pytest.param(
            ["E", "request.auth.claims", "azp"], {"b": TOKEN, "a": {"azp": "1"}},
            {"c": {"azp": "2"}, "a": {"azp": "1"}}, {"b": TOKEN}, id="first-provider",
        ),
    ],
)  # fmt: skip
def test_a_hit_must_agree_in_its_token(lua, item, tokens, same, other):
    """Claims mean what they mean to Mixer (mixer_proxy.md C.5 "JWT", K "request.auth.*")."""
    lua.request(tokens=tokens).answered(ok([item]), 0)

    assert lua.request(tokens=same, now=1).hit
    assert not lua.request(tokens=other, now=1).hit


def test_ports_of_callers_do_not_matter(lua):
    lua.request(remote="10.0.0.1:1").answered(ok([["E", "origin.ip"]]), 0)
    assert lua.request(remote="10.0.0.1:2", now=1).hit


@pytest.mark.parametrize(
    "shape", [USER, [["E", "no.such.attribute"]], [["A", "request.path"]]], ids=str
)
def test_a_shape_that_the_request_does_not_have_is_not_kept(lua, shape):
    lua.request().answered(ok(shape), 0)
    assert not lua.request(now=1).hit


def test_verdicts_of_several_shapes_stand_beside_one_another(lua):
    lua.request({"x-user": "a"}).answered(ok(USER), 0)
    lua.request({}).answered(denied(ANONYMOUS), 0)

    assert lua.request({"x-user": "a"}, now=1).hit
    assert lua.request({}, now=1).response["headers"][":status"] == "403"
    assert not lua.request({"x-user": "b"}, now=1).marks.get("hit")


def test_values_of_a_key_cannot_run_into_one_another(lua):
    shape = [["E", "request.headers", "a"], ["E", "request.headers", "b"]]
    lua.request({"a": "1", "b": "23"}).answered(ok(shape), 0)
    assert not lua.request({"a": "12", "b": "3"}, now=1).hit


def test_repeated_headers_count_as_one_joined_by_commas(lua):
    lua.request([("x-user", "a"), ("x-user", "b")]).answered(ok(USER), 0)
    assert lua.request({"x-user": "a,b"}, now=1).hit
    assert not lua.request({"x-user": "a"}, now=1).hit


# Validity (C4)


def test_a_verdict_expires(lua):
    lua.request({":path": "/a"}).answered(ok(PATH, valid_ms=10), 0)
    assert lua.request({":path": "/a"}, now=10).hit
    assert not lua.request({":path": "/a"}, now=11).hit


def test_a_verdict_is_used_as_often_as_it_may(lua):
    lua.request({":path": "/a"}).answered(ok(PATH, uses=3), 0)
    hits = [lua.request({":path": "/a"}, now=1).hit for _ in range(5)]
    assert hits == [True, True, True, False, False]


def test_a_negative_use_count_is_no_limit(lua):
    lua.request().answered(ok(PATH, uses=-1), 0)
    assert all(lua.request(now=1).hit for _ in range(50))


def test_the_least_recently_used_verdict_goes_first():
    lua = LuaFilter(check_cache().replace("ENTRIES = 10000", "ENTRIES = 3"))
    for path in ("/a", "/b", "/c"):
        lua.request({":path": path}).answered(ok(PATH), 0)
    assert lua.request({":path": "/a"}, now=1).hit
    lua.request({":path": "/d"}).answered(ok(PATH), 1)
    hits = {path: lua.request({":path": path}, now=2).hit for path in ("/a", "/b", "/c", "/d")}
    assert hits == {"/a": True, "/b": False, "/c": True, "/d": True}


def test_memory_is_bounded(lua):
    lua = LuaFilter(check_cache().replace("ENTRIES = 10000", "ENTRIES = 50"))
    memory = lua.runtime.eval("function() collectgarbage() return collectgarbage('count') end")
    for number in range(200):
        lua.request({":path": f"/{number}"}).answered(ok(PATH), 0)
    before = memory()
    for number in range(4000):
        lua.request({":path": f"/{number}"}).answered(ok(PATH), 0)
        lua.request({":path": f"/never-answered-{number}"})
    # What stays is the ring of requests without a response, 4096 of them.
    assert memory() - before < 8000


# What becomes of a request


def test_an_answer_that_is_not_cacheable_is_not_kept(lua):
    lua.request().answered({}, 0)
    lua.request().answered(None, 0)
    assert not lua.request(now=1).hit


def test_a_denial_is_answered_with_its_status_body_and_headers(lua):
    headers = [["set-cookie", "a=1"], ["set-cookie", "b=2"], ["location", "/login"]]
    verdict = denied(PATH, http=302, body="go away", headers=headers)
    lua.request().answered(verdict, 0)

    hit = lua.request(now=1)

    assert hit.response == {
        "headers": {":status": "302", "set-cookie": ["a=1", "b=2"], "location": "/login"},
        "body": "go away",
    }
    assert hit.marks == {"cache_hit": True, "error_code": 7, "error_message": "no"}


def test_a_direct_response_of_success_is_no_error(lua):
    lua.request().answered(denied(PATH, http=200, code=0, message=""), 0)
    assert lua.request(now=1).marks == {"cache_hit": True}


def test_header_operations_are_done_again_on_hits(lua):
    operations = {
        "set": [["x-set", "new"], [":path", "/rewritten"]],
        "append": [["x-more", "2"], ["x-first", "1"]],
        "remove": ["x-gone"],
    }
    answer = {
        "set": [["x-answer", "1"]],
        "append": [["vary", "b"]],
        "remove": ["x-powered-by"],
    }
    verdict = ok(USER, request_operations=operations, response_operations=answer)
    headers = {"x-user": "a", "x-set": "old", "x-more": "1", "x-gone": "1"}
    lua.request(headers).answered(verdict, 0)

    hit = lua.request(headers, now=1)
    after = hit.answered(None, 2, [(":status", "200"), ("vary", "a"), ("x-powered-by", "php")])

    assert dict(hit.headers) == {
        ":path": "/rewritten",
        ":method": "GET",
        ":authority": "ratings:9080",
        "x-user": "a",
        "x-set": "new",
        "x-more": "1,2",
        "x-first": "1",
    }
    assert hit.stream.cleared is True
    assert after == [(":status", "200"), ("vary", "a"), ("x-answer", "1"), ("vary", "b")]


def test_removals_from_a_response_are_done_on_misses_too(lua):
    first = lua.request()
    after = first.answered(
        {"response_remove": ["server"]}, 0, [(":status", "200"), ("server", "x")]
    )
    assert after == [(":status", "200")]


def test_an_error_leaves_the_request_unmarked(lua):
    lua.request().answered(ok(PATH, request_operations={"set": 5}), 0)
    broken = lua.request(now=1, may_fail=True)
    assert broken.error
    assert "hit" not in broken.marks


# Quotas (C7, C8, C10, C11)


def test_tokens_beyond_the_charge_are_spent_by_later_requests(lua):
    lua.request().answered(limited(granted(4)), 0)
    marks = [lua.request(now=1).marks for _ in range(4)]
    assert [m.get("hit") for m in marks] == [True, True, True, None]
    assert marks[0] == {"hit": True, "quota_cache_hit": True}
    assert "asks" in marks[3]


def test_a_request_that_finds_no_tokens_asks_for_the_demand_of_a_second(lua):
    lua.request().answered(limited(granted(1)), 0)
    asks = [lua.request(now=now).marks["asks"] for now in (100, 200, 300)]
    assert asks == [{"rate": 1}, {"rate": 1}, {"rate": 1}], "one large ask at a time"
    lua.request(now=400).answered(limited(granted(1)), 450)
    assert lua.request(now=500).marks["asks"] == {"rate": 5}
    # The demand of more than a second ago does not count.
    assert lua.request(now=9000).marks["asks"] == {"rate": 1}


def test_the_first_ask_is_for_the_charge_alone(lua):
    lua.request().answered(limited(granted(3, charge=3)), 0)
    assert lua.request(now=1).marks["asks"] == {"rate": 3}


def test_a_grant_smaller_than_asked_closes_the_quota_for_half_a_second(lua):
    lua.request().answered(limited(granted(2, asked=10)), 0)
    assert lua.request(now=1).hit
    exhausted = lua.request(now=2)
    assert exhausted.response == {
        "headers": {":status": "429"},
        "body": "RESOURCE_EXHAUSTED:Quota is exhausted for: rate",
    }
    assert exhausted.marks == {
        "cache_hit": True,
        "quota_cache_hit": True,
        "error_code": 8,
        "error_message": "Quota is exhausted for: rate",
    }
    assert lua.request(now=499).response is not None
    assert lua.request(now=501).marks["asks"]


def test_a_full_answer_opens_a_closed_quota(lua):
    lua.request().answered(limited(granted(0, asked=1)), 0)
    lua.request(now=501).answered(limited(granted(1, asked=1)), 502)
    assert "asks" in lua.request(now=503).marks


def test_tokens_expire(lua):
    lua.request().answered(limited(granted(5, valid_ms=1000)), 0)
    assert lua.request(now=1000).hit
    assert not lua.request(now=1001).hit


def test_the_whole_charge_is_needed(lua):
    lua.request().answered(limited(granted(8, charge=5)), 0)
    assert "asks" in lua.request(now=1).marks
    lua.request(now=2).answered(limited(granted(7, charge=5)), 3)
    assert lua.request(now=4).hit, "3 and 2 tokens are 5"
    assert not lua.request(now=5).hit


def test_a_refused_charge_leaves_what_was_granted(lua):
    lua.request().answered(limited(granted(3, asked=9, charge=5)), 0)
    lua.request(now=600).answered(limited(granted(5, asked=5, charge=5)), 601)
    lua.request(now=700).answered(limited(granted(2, asked=5, charge=5)), 701)
    assert lua.request(now=702).hit, "3 and 2 tokens are 5"


def test_all_quotas_are_charged_or_none(lua):
    both = (granted(3, name="a"), granted(1, name="b"))
    lua.request().answered(limited(*both), 0)
    assert lua.request(now=1).marks["asks"] == {"b": 1}
    lua.request(now=2).answered(limited(granted(1, name="a"), granted(3, name="b")), 3)
    hits = [lua.request(now=4 + each).hit for each in range(3)]
    assert hits == [True, True, False], "two of a were left"


def test_quota_tokens_belong_to_requests_of_one_shape(lua):
    grant = granted(3, shape=USER)
    lua.request({"x-user": "a"}).answered(limited(grant), 0)
    assert "asks" in lua.request({"x-user": "b"}, now=1).marks
    assert lua.request({"x-user": "a"}, now=1).hit
    # Another user has no cell at all if the header is missing, so each request asks.
    assert lua.request({}, now=1).marks["asks"] == {"rate": 1}


def test_an_unanswered_ask_blocks_large_asks_for_five_seconds_only(lua):
    lua.request().answered(limited(granted(1)), 0)
    assert [lua.request(now=10).marks["asks"]["rate"] for _ in range(3)] == [1, 1, 1]
    lua.request(now=4000).answered(ok(PATH, quotas=[granted(1)]), 4000)
    assert [lua.request(now=n).marks["asks"]["rate"] for n in (4100, 5100)] == [1, 1]


def test_a_quota_cell_without_requests_is_dropped():
    lua = LuaFilter(check_cache())
    verdict = limited(granted(9, valid_ms=10**9))
    verdict["check"]["valid_ms"] = 10**9
    lua.request().answered(verdict, 0)
    assert lua.request(now=600_000).hit
    assert not lua.request(now=1_200_001).hit


def test_responses_are_matched_with_their_own_requests(lua):
    one, two = lua.request({":path": "/1"}), lua.request({":path": "/2"})
    two.answered(denied(PATH), 0)
    one.answered(ok(PATH), 0)
    assert lua.request({":path": "/1"}, now=1).hit
    assert lua.request({":path": "/2"}, now=1).response is not None


def test_a_late_response_does_not_take_another_requests_place(lua):
    lua = LuaFilter(check_cache().replace("PENDING = 4096", "PENDING = 2"))
    exchanges: list[Exchange] = [lua.request({":path": f"/{n}"}) for n in range(3)]
    exchanges[0].answered(ok(PATH), 0)
    assert not any(lua.request({":path": f"/{n}"}, now=1).hit for n in range(3))


# Configurations: the answer to any check tells which one Mixer judges by (decision 34)


def of(configuration, verdict):
    """The same verdict, of a configuration that has a name."""
    return {**verdict, "configuration": configuration}


A, B = {":path": "/a"}, {":path": "/b"}


@pytest.mark.parametrize(
    "news",
    [
        pytest.param(ok(PATH), id="kept"),
        pytest.param({}, id="not-kept"),
        pytest.param({"error_code": 13}, id="error"),
    ],
)
def test_a_new_configuration_ends_all_verdicts_of_the_one_before(lua, news):
    lua.request(A).answered(of("one", ok(PATH)), 0)
    assert lua.request(A, now=1).hit
    lua.request(B, now=2).answered(of("two", news), 3)
    assert not lua.request(A, now=4).hit


def test_an_answer_without_a_configuration_says_nothing_about_it(lua):
    lua.request(A).answered(of("one", ok(PATH)), 0)
    lua.request(B, now=1).answered({"error_code": 14}, 1)
    assert lua.request(A, now=2).hit


def test_after_half_a_second_one_request_asks_for_news_and_the_others_hit(lua):
    lua.request(A).answered(of("one", ok(PATH)), 0)
    assert lua.request(A, now=499).hit
    renewing = lua.request(A, now=500)
    assert not renewing.hit
    assert [lua.request(A, now=n).hit for n in (501, 1500, 5499)] == [True] * 3
    renewing.answered(of("one", ok(PATH)), 5499)
    # What counts is when the request was made, not when its answer came.
    assert not lua.request(A, now=5500).hit


def test_any_answer_is_news(lua):
    lua.request(A).answered(of("one", ok(PATH)), 0)
    lua.request(B, now=400).answered(of("one", ok(PATH)), 401)
    assert lua.request(A, now=899).hit
    assert not lua.request(A, now=900).hit


def test_when_mixer_does_not_answer_one_request_in_five_seconds_asks_for_news(lua):
    lua.request(A).answered(of("one", ok(PATH, uses=-1)), 0)
    asked = []
    for now in range(1, 12_000, 100):
        exchange = lua.request(A, now=now)
        if not exchange.hit:
            asked.append(now)
            exchange.answered(None, now + 1)
    assert asked == [501, 5501, 10501]


def test_denials_are_renewed_too(lua):
    lua.request(A).answered(of("one", denied(PATH)), 0)
    assert lua.request(A, now=499).response
    lua.request(A, now=500).answered(of("two", ok(PATH)), 501)
    assert lua.request(A, now=502).hit


def test_an_answer_to_an_older_request_does_not_bring_an_old_configuration_back(lua):
    slow, fast = lua.request(A, now=0), lua.request(B, now=100)
    fast.answered(of("two", ok(PATH)), 101)
    slow.answered(of("one", denied(PATH)), 900)
    assert not lua.request(A, now=901).response
    assert lua.request(B, now=599).hit


def test_a_verdict_is_as_old_as_the_request_that_asked_for_it(lua):
    lua.request(A, now=0).answered(ok(PATH, valid_ms=1000), 900)
    assert lua.request(A, now=1000).hit
    assert not lua.request(A, now=1001).hit


def test_verdicts_without_a_configuration_are_not_renewed(lua):
    lua.request(A).answered(ok(PATH), 0)
    assert all(lua.request(A, now=n).hit for n in (499, 501, 5000, 60_000))


def test_tokens_outlive_a_configuration_and_refusals_do_not(lua):
    lua.request(A).answered(of("one", limited(granted(2))), 0)
    lua.request(B, now=1).answered(of("two", limited(granted(1))), 1)
    assert [lua.request(B, now=2).hit for _ in range(2)] == [True, False], "the token is spent"
    lua.request(B, now=3).answered(of("two", limited(granted(0, asked=1))), 3)
    assert lua.request(B, now=4).response, "exhausted"
    lua.request(A, now=5).answered(of("three", ok(USER)), 5)
    lua.request(B, now=6).answered(of("three", {"check": limited(granted(1))["check"]}), 6)
    assert "asks" in lua.request(B, now=7).marks
