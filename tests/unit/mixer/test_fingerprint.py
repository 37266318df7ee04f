"""Names of configurations: equal where configurations are, whatever became of them on the way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mast.mixer.core.fingerprint import Fingerprint

keys = st.sampled_from(["a", "b", "ab", ""])
values = st.one_of(st.none(), st.sampled_from([b"", b"a", b"b", b"ab"]))


@given(st.lists(st.tuples(keys, values)), st.lists(st.tuples(keys, values)))
def test_equal_exactly_where_what_remains_is(
    one: list[tuple[str, bytes | None]], two: list[tuple[str, bytes | None]]
) -> None:
    names, contents = [], []
    for changes in (one, two):
        fingerprint = Fingerprint()
        for key, value in changes:
            fingerprint.put(key, value)
        names.append(str(fingerprint))
        contents.append({key: value for key, value in dict(changes).items() if value is not None})
    assert (names[0] == names[1]) == (contents[0] == contents[1])
