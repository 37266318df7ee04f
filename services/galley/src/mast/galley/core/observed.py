"""Objects of a cluster as the source of configuration sees them, for those who write statuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mast.common.kubernetes.objects import Object, Resource

Told = Callable[[str, str, str], None]
"""Is called with kind (``group/Kind``), namespace and name of an object that changed."""


class Observed:
    """Every object that is followed, by kind; kept by one writer, the source.

    The objects are those that following keeps anyway.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[Resource, dict[tuple[str, str], Object]]] = {}
        self._listeners: list[Told] = []

    def put(self, resource: Resource, namespace: str, name: str, found: Object | None) -> None:
        """What became of an object; None: it is gone."""
        kind = kind_of(resource)
        _, objects = self._kinds.get(kind, (resource, {}))
        self._kinds[kind] = resource, objects
        if found is None:
            objects.pop((namespace, name), None)
        else:
            objects[namespace, name] = found
        self._tell(kind, namespace, name)

    def forget(self, kind: str) -> None:
        """A kind is not served any more."""
        if kind in self._kinds:
            _, objects = self._kinds.pop(kind)
            for namespace, name in objects:
                self._tell(kind, namespace, name)

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object."""
        found = self._kinds.get(kind)
        return None if found is None else found[1].get((namespace, name))

    def resource(self, kind: str) -> Resource | None:
        """How a kind is served, None if nothing is known of it."""
        found = self._kinds.get(kind)
        return None if found is None else found[0]

    def names(self) -> Iterator[tuple[str, str, str]]:
        """Kind, namespace and name of everything."""
        for kind, (_, objects) in list(self._kinds.items()):
            for namespace, name in list(objects):
                yield kind, namespace, name

    @contextmanager
    def telling(self, listener: Told) -> Iterator[None]:
        """Call a listener for every change within the block."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def _tell(self, kind: str, namespace: str, name: str) -> None:
        for listener in self._listeners:
            listener(kind, namespace, name)


def kind_of(resource: Resource) -> str:
    """``group/Kind``, ``Kind`` alone in the core group."""
    return f"{resource.group}/{resource.kind}".removeprefix("/")
