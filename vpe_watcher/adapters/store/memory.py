"""The verbs on what lies in roots where nothing is moved, and was seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vpe_watcher.adapters.store.statements import Verbs, remember
from vpe_watcher.adapters.store.values import Remembered

AT_ONCE = 500  # values in one query


class MemoryVerbs(Verbs):
    """Files by root and path; a root is named as in `roots`."""

    def marks(self, root: str) -> dict[str, tuple[int, int]]:
        """Return size in bytes and time of change in ns of all that was seen, by path."""
        rows = self.database.read(
            "SELECT path, size, mtime_ns FROM remembered WHERE root = ?", (root,)
        )
        return {row["path"]: (row["size"], row["mtime_ns"]) for row in rows}

    def remember(self, root: str, files: Iterable[Remembered]) -> None:
        """Record files that were seen; what was known of the same paths is replaced."""
        with self.database.transaction() as connection:
            remember(connection, root, files)

    def unread(self, root: str, size: int | None, *, at_most: int) -> list[Remembered]:
        """Return files of a size in bytes, or of any, whose content nobody has read yet."""
        columns = "SELECT path, size, mtime_ns, case_id, content FROM remembered "
        index = "INDEXED BY remembered_unread WHERE root = ? AND "
        if size is None:
            rows = self.database.read(f"{columns}{index}content IS NULL LIMIT ?", (root, at_most))
        else:
            rows = self.database.read(
                f"{columns}{index}size = ? AND content IS NULL LIMIT ?",
                (root, size, at_most),
            )
        return [Remembered(*row) for row in rows]

    def set_contents(self, root: str, contents: Mapping[str, str]) -> None:
        """Record what tells the content of files, by path."""
        with self.database.transaction() as connection:
            connection.executemany(
                "UPDATE remembered SET content = ? WHERE root = ? AND path = ?",
                [(content, root, path) for path, content in contents.items()],
            )

    def forget(self, root: str, path: str) -> None:
        """Forget a file, or all below a folder, that a person wants to be looked at again."""
        with self.database.transaction() as connection:
            connection.execute(
                "DELETE FROM remembered WHERE root = ?1 AND "
                "(path = ?2 OR substr(path, 1, length(?2) + 1) = ?2 || '/')",
                (root, path),
            )

    def contents_known(self, root: str, contents: Iterable[str]) -> set[str]:
        """Return which of some contents were seen in a root, and are no case's."""
        wanted, found = sorted(set(contents)), set()
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = self.database.read(
                "SELECT DISTINCT content FROM remembered "  # noqa: S608 - only question marks
                "INDEXED BY remembered_by_content "
                f"WHERE root = ? AND case_id = '' AND content IN ({marks})",
                (root, *some),
            )
            found |= {row["content"] for row in rows}
        return found
