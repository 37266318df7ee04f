"""The wire form of any attributes, for any caller (mixer.md A2 to A5; checklist 1, 2)."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from istio.mixer.v1.attributes_pb2 import CompressedAttributes
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.values import Duration, Timestamp, Value
from mast.mixer.core.wire import WireError, Words, decode, encode, update

names = st.sampled_from(WORDS) | st.text(max_size=8)
maps = st.dictionaries(names, names, max_size=4)
values = st.one_of(
    names,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.binary(max_size=16),
    maps,
    st.builds(Duration, st.integers(-(2**63), 2**63 - 1)),
    st.builds(Timestamp, st.integers(-62_135_596_800 * 10**9, 253_402_300_799 * 10**9)),
)
attributes = st.dictionaries(names, values, max_size=12)
counts = st.sampled_from([0, 111, 203, 221, 222])


@given(attributes, counts)
def test_round_trip(sent: dict[str, Value], count: int) -> None:
    """A3, A4, L1, L2."""
    message = CompressedAttributes.FromString(encode(sent, count).SerializeToString())
    words = Words(message.words)
    assert decode(message, words) == sent
    assert update({}, message, words) == sent


@given(attributes, counts)
def test_only_words_that_the_caller_knows_are_used(sent: dict[str, Value], count: int) -> None:
    """A2, A3, L1."""
    message = encode(sent, count)
    used = [*message.strings, *message.strings.values()]
    for field in ("int64s", "doubles", "bools", "timestamps", "durations", "bytes", "string_maps"):
        used += getattr(message, field)
    for entry in message.string_maps.values():
        used += [*entry.entries, *entry.entries.values()]
    assert all(-len(message.words) <= index < count for index in used)
    assert len(set(message.words)) == len(message.words)


@given(attributes, attributes)
def test_a_delta_goes_over_the_state(before: dict[str, Value], changes: dict[str, Value]) -> None:
    """A5, B2."""
    message = encode(changes)
    assert update(before, message, Words(message.words)) == {**before, **changes}


@given(st.binary(max_size=80))
def test_any_bytes_that_are_a_message_decode(data: bytes) -> None:
    """A5: the lazy view never fails."""
    message = CompressedAttributes()
    try:
        message.ParseFromString(data)
    except Exception:  # noqa: BLE001  not a message at all
        return
    words = Words(message.words)
    lazy = decode(message, words)
    with suppress(WireError):
        assert update({}, message, words).keys() >= lazy.keys()
