"""The compressed wire form of attributes and of referenced attributes (mixer.md A2 to A6, A11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from google.protobuf.duration_pb2 import Duration as DurationMessage
from google.protobuf.timestamp_pb2 import Timestamp as TimestampMessage

from istio.mixer.v1.attributes_pb2 import CompressedAttributes, StringMap
from istio.mixer.v1.mixer_pb2 import ReferencedAttributes
from mast.mixer.core.dictionary import INDEX, WORDS
from mast.mixer.core.engine import Reference
from mast.mixer.core.values import (
    INT64_MAX,
    INT64_MIN,
    NANOS,
    Attributes,
    Duration,
    Timestamp,
    Value,
)

# Seconds of 0001-01-01 and 9999-12-31, the range of google.protobuf.Timestamp.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799


class WireError(Exception):
    """A message that cannot be decoded; the text names the index or attribute (A5)."""


class DictionaryMismatch(Exception):
    """The caller knows more global words than there are (A2)."""

    def __init__(self, theirs: int, ours: int) -> None:
        super().__init__(
            "inconsistent global dictionary versions used: "
            f"mixer knows {ours} words, caller knows {theirs}"
        )


def check_word_count(count: int) -> None:
    """Raise DictionaryMismatch if a caller's ``global_word_count`` is not served (A2)."""
    if count > len(WORDS):
        raise DictionaryMismatch(count, len(WORDS))


class Words:
    """The words that indices of one message mean: its own below 0, the global ones from 0 (A3).

    Worth sharing between the messages of a batch that use the same ``default_words`` (B1).
    ``wanted`` limits the attributes that the lazy view decodes: the others are left out.
    """

    __slots__ = ("by_index", "names")

    def __init__(
        self,
        own: Sequence[str],
        dictionary: Sequence[str] = WORDS,
        wanted: frozenset[str] | None = None,
    ) -> None:
        self.by_index: dict[int, str] = _numbered(dictionary).copy()
        self.names: dict[int, str] = _names(dictionary, wanted).copy()
        for position, word in enumerate(own):
            self.by_index[-position - 1] = word
            if wanted is None or word in wanted:
                self.names[-position - 1] = word
                # A name is looked up among the message's own words first.
                shadowed = _index(dictionary).get(word)
                if shadowed is not None:
                    self.names.pop(shadowed, None)

    def __getitem__(self, index: int) -> str:
        try:
            return self.by_index[index]
        except KeyError:
            raise WireError(f"index {index} is not defined in the available dictionaries") from None


_GLOBAL = dict(enumerate(WORDS))


def _numbered(dictionary: Sequence[str]) -> dict[int, str]:
    return _GLOBAL if dictionary is WORDS else dict(enumerate(dictionary))


def _index(dictionary: Sequence[str]) -> Mapping[str, int]:
    return INDEX if dictionary is WORDS else {word: i for i, word in enumerate(dictionary)}


def _names(dictionary: Sequence[str], wanted: frozenset[str] | None) -> dict[int, str]:
    if wanted is None or dictionary is not WORDS:
        return _numbered(dictionary)
    return _wanted_names(wanted)


@lru_cache(maxsize=8)
def _wanted_names(wanted: frozenset[str]) -> dict[int, str]:
    return {index: word for index, word in _GLOBAL.items() if word in wanted}


def decode(message: CompressedAttributes, words: Words) -> dict[str, Value]:
    """The attributes of a message through the lazy view: what does not resolve is absent (A5).

    Of a name in several typed maps the string counts, then the integer and so on.
    """
    names, table = words.names, words.by_index
    found: dict[str, Value] = {}
    for field in ("string_maps", "durations", "timestamps"):
        entries, convert = getattr(message, field), _CONVERTERS[field]
        for index in entries:
            if index in names:
                with suppress(WireError):
                    found[names[index]] = convert(entries[index], words)
    for plain in (message.bytes, message.bools, message.doubles, message.int64s):
        found.update({names[index]: plain[index] for index in plain if index in names})
    strings = message.strings
    try:
        found.update({names[index]: table[strings[index]] for index in strings if index in names})
    except KeyError:
        for index in strings:
            if index in names and strings[index] in table:
                found[names[index]] = table[strings[index]]
    return found


def update(state: Attributes, message: CompressedAttributes, words: Words) -> dict[str, Value]:
    """The accumulated attributes after a delta, through the strict view (A5, B2).

    Raises WireError for an index that does not resolve, a value out of range, or a name that is
    in two typed maps; the state before stays as it was.
    """
    changed: dict[str, Value] = {}
    for field, convert in _CONVERTERS.items():
        for index, value in getattr(message, field).items():
            name = words[index]
            if name in changed:
                raise WireError(f"duplicate attribute '{name}'")
            changed[name] = convert(value, words)
    return {**state, **changed}


def _as_is(value: Any, _: Words) -> Value:
    return value  # type: ignore[no-any-return]


def _word(index: int, words: Words) -> Value:
    return words[index]


def _string_map(entry: StringMap, words: Words) -> Value:
    table = words.by_index
    try:
        return {table[key]: table[value] for key, value in entry.entries.items()}
    except KeyError as error:
        raise WireError(
            f"index {error.args[0]} is not defined in the available dictionaries"
        ) from None


def _timestamp(instant: TimestampMessage, _: Words) -> Value:
    seconds, nanos = instant.seconds, instant.nanos
    if not (_FIRST_SECOND <= seconds <= _LAST_SECOND and 0 <= nanos < NANOS):
        raise WireError(f"timestamp of {seconds} seconds, {nanos} nanos is out of range")
    return Timestamp(seconds * NANOS + nanos)


def _duration(length: DurationMessage, _: Words) -> Value:
    ns = length.seconds * NANOS + length.nanos
    if not INT64_MIN <= ns <= INT64_MAX:
        raise WireError(f"duration of {length.seconds} seconds is out of range")
    return Duration(ns)


_CONVERTERS: Mapping[str, Callable[[Any, Words], Value]] = {
    "strings": _word,
    "int64s": _as_is,
    "doubles": _as_is,
    "bools": _as_is,
    "timestamps": _timestamp,
    "durations": _duration,
    "bytes": _as_is,
    "string_maps": _string_map,
}


class Numbering:
    """Gives words indices: the global one if the peer knows it, else a new own one (A3, A11)."""

    def __init__(self, known: int = len(WORDS), index: Mapping[str, int] = INDEX) -> None:
        self.own: dict[str, int] = {}
        self._known = known
        self._index = index

    def of(self, word: str, *, key: bool = False) -> int:
        """Index of a word; ``key`` avoids 0, which stands for "no key" (A11)."""
        known = self._index.get(word, self._known)
        if known < self._known and not (key and known == 0):
            return known
        return self.own.setdefault(word, -len(self.own) - 1)


def encode_shared(attributes: Attributes, numbering: Numbering) -> CompressedAttributes:
    """The message for attributes, but for its words: those are the numbering's own.

    Messages of one report may share a numbering, whose words then are ``default_words`` (B1).
    """
    message = CompressedAttributes()
    for name, value in attributes.items():
        at = numbering.of(name)
        if isinstance(value, str):
            message.strings[at] = numbering.of(value)
        elif isinstance(value, bool):
            message.bools[at] = value
        elif isinstance(value, int):
            message.int64s[at] = value
        elif isinstance(value, float):
            message.doubles[at] = value
        elif isinstance(value, bytes):
            message.bytes[at] = value
        elif isinstance(value, Timestamp):
            message.timestamps[at].FromNanoseconds(value.ns)
        elif isinstance(value, Duration):
            message.durations[at].FromNanoseconds(value.ns)
        else:
            entries = message.string_maps[at].entries
            for key, word in value.items():
                entries[numbering.of(key)] = numbering.of(word)
    return message


def encode(
    attributes: Attributes, known: int = len(WORDS), index: Mapping[str, int] = INDEX
) -> CompressedAttributes:
    """A message with its own words, for a peer that knows the first ``known`` global ones."""
    numbering = Numbering(known, index)
    message = encode_shared(attributes, numbering)
    message.words.extend(numbering.own)
    return message


def encode_references(references: Iterable[Reference], known: int) -> ReferencedAttributes:
    """What a verdict depends on, for a peer that knows the first ``known`` words (A11)."""
    message = ReferencedAttributes()
    numbering = Numbering(known)
    for name, key, condition in references:
        message.attribute_matches.add(
            name=numbering.of(name),
            map_key=0 if key is None else numbering.of(key, key=True),
            condition=condition.value,
        )
    message.words.extend(numbering.own)
    return message
