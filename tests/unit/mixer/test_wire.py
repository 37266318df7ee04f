"""The compressed wire form (mixer.md A2 to A6, A11, B1, B2)."""

from __future__ import annotations

from typing import Any

import pytest

from istio.mixer.v1.attributes_pb2 import CompressedAttributes
from istio.mixer.v1.mixer_pb2 import ReferencedAttributes
from mast.mixer.core.dictionary import INDEX, WORDS
from mast.mixer.core.engine import Condition, Reference
from mast.mixer.core.values import Duration, Timestamp, Value
from mast.mixer.core.wire import (
    DictionaryMismatch,
    WireError,
    Words,
    check_word_count,
    decode,
    encode,
    encode_references,
    update,
)
from tests.support.mixer_vectors import (
    dictionary,
    message,
    parsed,
    recorded_words,
    values,
    vectors,
)


def _index(case: Any) -> dict[str, int]:
    return {word: index for index, word in enumerate(dictionary(case))}


def test_the_word_list_is_istios() -> None:
    """A2, L1: 222 words in their order."""
    assert list(WORDS) == list(recorded_words())
    assert len(WORDS) == 222
    assert WORDS[202] == "connection.requested_server_name"
    assert WORDS[220:] == ("outbound", "context.proxy_version")


@pytest.mark.parametrize("case", vectors("decode"))
def test_conformance_decode(case: Any) -> None:
    """A3 to A5: what resolves, by the lazy and the strict view."""
    described, expected = case["input"], case["expected"]
    built = message(described["message"])
    words = Words(built.words, dictionary(case))
    if described.get("wire_hex"):
        assert parsed(described["wire_hex"]) == built
    if "lazy" in expected:
        found = decode(built, words)
        for name, wanted in values(expected["attributes"]).items():
            assert found[name] == wanted
        for name in expected.get("missing", ()):
            assert name not in found
        if "exact_name_set" in expected:
            assert sorted(found) == sorted(expected["exact_name_set"])
    if expected.get("strict") == "ok":
        assert update({}, built, words) == decode(built, words)
    if expected.get("strict") == "error":
        with pytest.raises(WireError, match=r"index .* is not defined"):
            update({}, built, words)


@pytest.mark.parametrize("case", vectors("roundtrip"))
def test_conformance_round_trip(case: Any) -> None:
    """A3, A4: every kind of value comes back, and takes the bytes it should."""
    attributes = values({**case.get("parent_attributes", {}), **case["attributes"]})
    sent = encode(attributes, case["global_word_count"], _index(case))
    if "expected_wire_hex" in case:
        assert sent.SerializeToString().hex() == case["expected_wire_hex"]
    if "expected_words_set" in case:
        assert sorted(sent.words) == sorted(case["expected_words_set"])
    words = Words(sent.words, dictionary(case))
    received = CompressedAttributes.FromString(sent.SerializeToString())
    assert decode(received, words) == attributes
    assert update({}, received, words) == attributes


@pytest.mark.parametrize("case", vectors("encode"))
def test_conformance_encode(case: Any) -> None:
    """A3: the global list first, words of the message for the rest."""
    sent = encode(values(case["attributes"]), case["global_word_count"], _index(case))
    assert sent == message(case["expected_message"])
    known = case["decode_check"]["global_words"]
    assert decode(sent, Words(sent.words, known)) == values(case["decode_check"]["attributes"])


@pytest.mark.parametrize("case", vectors("compress"))
def test_conformance_compress(case: Any) -> None:
    """A3, A4: as proxies of 1.4 do it."""
    sent = encode(values(case["attributes"]))
    assert sent == message(case["expected_message"])
    received = parsed(case["decode_wire_hex"])
    assert decode(received, Words(received.words)) == values(case["attributes"])


@pytest.mark.parametrize("case", vectors("compress_batch"))
def test_conformance_batch_is_decoded(case: Any) -> None:
    """A3, B1: the messages of a proxy's report share their words."""
    expected = case["expected"]
    words = Words(expected["default_words"])
    found = [decode(message(each), words) for each in expected["attributes"]]
    assert found == [values(each) for each in case["batch"]]


@pytest.mark.parametrize("case", vectors("delta"))
def test_conformance_delta(case: Any) -> None:
    """A5, B2: the strict view on the accumulated state."""
    state: dict[str, Value] = {}
    failed = ""
    for each in case["updates"]:
        built = message(each["message"])
        if each.get("wire_hex"):
            assert parsed(each["wire_hex"]) == built
        try:
            state = update(state, built, Words(built.words, dictionary(case)))
        except WireError as error:
            failed = str(error)
    if case["expected"]["outcome"] == "error":
        assert failed.startswith("duplicate attribute")
        assert state == {}
    else:
        assert not failed
        assert state == values(case["expected"]["attributes"])


def test_names_are_looked_up_among_the_messages_words_first() -> None:
    """A3: a global index of a word that the message has is not that name."""
    shadowed = INDEX["source.uid"]
    built = CompressedAttributes(words=["source.uid", "x"], strings={shadowed: -2})
    assert decode(built, Words(built.words)) == {}
    built.strings[-1] = -2
    assert decode(built, Words(built.words)) == {"source.uid": "x"}


def test_of_a_name_in_two_typed_maps_the_lazy_view_takes_the_string() -> None:
    """A5: for the strict view it is an error."""
    built = CompressedAttributes(words=["a"], strings={-1: 0}, int64s={-1: 5}, bools={-1: True})
    assert decode(built, Words(built.words)) == {"a": "source.ip"}


@pytest.mark.parametrize(
    ("built", "left_out"),
    [
        pytest.param(CompressedAttributes(strings={-1: 0}), "name", id="name"),
        pytest.param(CompressedAttributes(strings={0: 222}), "value", id="value"),
        pytest.param(CompressedAttributes(strings={0: 222, -1: 3}), "both", id="value-and-name"),
        pytest.param(CompressedAttributes(int64s={500: 1}), "number", id="number"),
        pytest.param(CompressedAttributes(bools={-9: True}), "bool", id="bool"),
        pytest.param(CompressedAttributes(doubles={222: 1.0}), "double", id="double"),
        pytest.param(CompressedAttributes(bytes={222: b"x"}), "bytes", id="bytes"),
    ],
)
def test_a_bad_index_hides_one_attribute(built: CompressedAttributes, left_out: str) -> None:
    """A5, L2: absent for the lazy view, an error for the strict one."""
    built.int64s[30] = 200
    assert decode(built, Words(())) == {"response.code": 200}
    with pytest.raises(WireError, match="is not defined in the available dictionaries"):
        update({}, built, Words(()))


def test_a_string_that_does_not_resolve_hides_no_other() -> None:
    """A5: only the attribute itself is absent."""
    built = CompressedAttributes(strings={0: 222, 3: 219})
    assert decode(built, Words(())) == {"source.uid": "inbound"}


def test_a_bad_map_entry_hides_the_map() -> None:
    """A5: a map is there as a whole or not at all."""
    built = CompressedAttributes()
    built.string_maps[15].entries[31] = 222
    built.string_maps[26].entries[35] = 136
    assert decode(built, Words(())) == {"response.headers": {":status": "200"}}


@pytest.mark.parametrize("seconds", [-62_135_596_801, 253_402_300_800])
def test_times_out_of_range_are_absent_or_errors(seconds: int) -> None:
    """A5: like an index that does not resolve."""
    built = CompressedAttributes()
    built.timestamps[24].seconds = seconds
    assert decode(built, Words(())) == {}
    with pytest.raises(WireError, match=r"timestamp .* out of range"):
        update({}, built, Words(()))


def test_durations_out_of_range_are_absent_or_errors() -> None:
    """A5: like an index that does not resolve."""
    built = CompressedAttributes()
    built.durations[29].seconds = 10**10
    assert decode(built, Words(())) == {}
    with pytest.raises(WireError, match="duration of 10000000000 seconds is out of range"):
        update({}, built, Words(()))


def test_attributes_that_nobody_reads_need_not_be_decoded() -> None:
    attributes: dict[str, Value] = {
        "request.headers": {"a": "b"},
        "response.headers": {"c": "d"},
        "source.uid": "x",
        "my.own": 5,
        "my.other": 6,
    }
    sent = encode(attributes)
    wanted = frozenset({"response.headers", "my.own", "none"})
    assert decode(sent, Words(sent.words, wanted=wanted)) == {
        "response.headers": {"c": "d"},
        "my.own": 5,
    }


def test_a_delta_replaces_maps_whole_and_may_change_types() -> None:
    """A5: nothing is merged, the state before stays."""
    before: dict[str, Value] = {"request.headers": {"a": "1", "b": "2"}, "response.code": 200}
    sent = encode({"request.headers": {"a": "3"}, "response.code": "none"})
    after = update(before, sent, Words(sent.words))
    assert after == {"request.headers": {"a": "3"}, "response.code": "none"}
    assert before["response.code"] == 200


@pytest.mark.parametrize("count", [0, 111, 203, 221, 222])
def test_callers_of_all_releases_are_served(count: int) -> None:
    """A2, A3, L1: with 0, 111, 203, 221 and 222 words."""
    attributes: dict[str, Value] = {
        "source.uid": "kubernetes://a.b",
        "context.proxy_version": "1.4",
        "request.headers": {"source.ip": "outbound"},
        "response.code": 0,
        "connection.mtls": False,
        "response.duration": Duration(1),
        "request.time": Timestamp(-1),
        "source.ip": b"\x01\x02\x03\x04",
        "a.double": -0.5,
    }
    check_word_count(count)
    sent = encode(attributes, count)
    indices = [*sent.strings, *sent.strings.values(), *sent.int64s, *sent.bools, *sent.string_maps]
    assert all(index < count for index in indices)
    assert decode(sent, Words(sent.words)) == attributes


def test_a_caller_that_knows_more_words_is_refused() -> None:
    """A2, L3: the text."""
    with pytest.raises(DictionaryMismatch) as refused:
        check_word_count(223)
    assert str(refused.value) == (
        "inconsistent global dictionary versions used: mixer knows 222 words, caller knows 223"
    )


def test_references_use_words_that_the_caller_knows() -> None:
    """A2, A11: 0 is no key, so the first global word is sent as an own one."""
    references = [
        Reference("source.uid", None, Condition.EXACT),
        Reference("context.proxy_version", None, Condition.ABSENCE),
        Reference("request.headers", "source.ip", Condition.EXACT),
        Reference("request.headers", "authorization", Condition.ABSENCE),
        Reference("my.own", "source.ip", Condition.ABSENCE),
    ]
    sent = encode_references(references, 221)
    assert list(sent.words) == ["context.proxy_version", "source.ip", "my.own"]
    matches = [(each.name, each.map_key, each.condition) for each in sent.attribute_matches]
    exact, absence = ReferencedAttributes.EXACT, ReferencedAttributes.ABSENCE
    assert matches == [
        (3, 0, exact),
        (-1, 0, absence),
        (15, -2, exact),  # the global index 0 would read as "no key"
        (15, 50, absence),
        (-3, -2, absence),
    ]
