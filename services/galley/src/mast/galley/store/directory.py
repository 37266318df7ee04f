"""The directory source: a tree of files that the store is kept equal to."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mast.galley.core.objects import Defaults
from mast.galley.core.tree import Tree, read_tree
from mast.galley.store.files import FileTree
from mast.galley.store.trees import TreeKeeper


class DirectorySource:
    """Reads a directory, by every replica, and has its objects kept in the store.

    If it belongs to a Git work tree, what is read is of one commit, and told with it (A2).
    """

    def __init__(self, keeper: TreeKeeper, root: Path, defaults: Defaults) -> None:
        self.keeper = keeper
        self._files = FileTree(root)
        self._defaults = defaults

    async def run(self) -> None:
        """Read and store for ever."""
        async with self._files.notified(), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(), name=f"read source {self.keeper.name}")
            tasks.create_task(self.keeper.run(), name=f"store source {self.keeper.name}")

    async def _read(self) -> None:
        while True:
            found = await self._files.next()
            before = self.keeper.tree or Tree()
            tree = await asyncio.to_thread(
                read_tree, before, found.contents, self._defaults, found.commit
            )
            self.keeper.take(tree)
