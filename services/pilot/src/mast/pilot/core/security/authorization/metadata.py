"""Metadata of requests and connections as conditions, in the form that Envoy has not deprecated."""

from collections.abc import Sequence
from typing import Final

from envoy.config.rbac.v3.rbac_pb2 import MetadataSource, SourcedMetadata
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher

JWT: Final = "envoy.filters.http.jwt_authn"
PAYLOAD: Final = "payload"
"""Filter and key under which the claims of a verified token stand (pilot.md J2)."""


def sourced(namespace: str, path: Sequence[str], value: ValueMatcher) -> SourcedMetadata:
    """A value below a path of the metadata that a filter has written."""
    matcher = MetadataMatcher(filter=namespace, value=value)
    matcher.path.extend(MetadataMatcher.PathSegment(key=each) for each in path)
    return SourcedMetadata(metadata_matcher=matcher, metadata_source=MetadataSource.DYNAMIC)


def text(matcher: StringMatcher) -> ValueMatcher:
    """A text that matches."""
    return ValueMatcher(string_match=matcher)


def item(matcher: StringMatcher) -> ValueMatcher:
    """A list with a text that matches."""
    return ValueMatcher(list_match=ListMatcher(one_of=text(matcher)))


def text_or_item(matcher: StringMatcher) -> ValueMatcher:
    """A text that matches, or a list with one."""
    either = OrMatcher(value_matchers=[text(matcher), item(matcher)])
    return ValueMatcher(or_match=either)
