"""`where`: a condition on columns of the library, in DuckDB's SQL.

DuckDB parses the condition first, and it must be one expression without subqueries; it is then evaluated without access to
files, the network or settings.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from claprt.errors import MissingDependencyError, OptionError
from claprt.library.schema import Table, arrow
from claprt.system.extras import install_hint
from claprt.system.foreign_errors import describe_error

_SETTINGS = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
}
_LOCKED = {"memory_limit": "'512MB'", "lock_configuration": "true"}
_ROW = "__row"
_LONGEST = 300
"""Characters of a condition that a message repeats."""


PLAIN_FUNCTIONS = frozenset({
    *("~~", "!~~", "~~*", "!~~*", "~~~", "like_escape", "ilike_escape", "not_like_escape", "not_ilike_escape", "^@"),
    *("regexp_matches", "regexp_full_match", "contains", "starts_with", "prefix", "suffix", "ends_with"),
    *("lower", "upper", "length", "strlen", "substr", "substring", "left", "right", "split_part", "strip_accents"),
    *("trim", "ltrim", "rtrim", "parse_filename", "parse_dirname", "parse_dirpath", "parse_path"),
    *("+", "-", "*", "/", "//", "%", "&", "|", "greatest", "least"),
    *("abs", "round", "floor", "ceil", "sqrt", "ln", "log2", "log10"),
    *("to_timestamp", "epoch", "date_part", "year", "month", "day", "hour", "isfinite", "isnan"),
})  # fmt: skip
"""Functions and operators whose results are no larger than their arguments, and that take little time."""
_PLAIN_TYPES = frozenset({
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UBIGINT", "FLOAT", "DOUBLE", "DECIMAL", "VARCHAR"),
    *("DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "INTERVAL"),
})  # fmt: skip


class Filter:
    """A condition, parsed."""

    def __init__(
        self, where: str, columns: Sequence[str], *, threads: int = 1, longest_s: float = 30.0, plain: bool = False
    ) -> None:
        """Parse a condition.

        Args:
            where: Such as `duration_s < 2 AND path LIKE '%kick%'`.
            columns: Names that it may have.
            threads: Of DuckDB.
            longest_s: Seconds that it may take to find the rows that meet it.
            plain: Whether it may use `PLAIN_FUNCTIONS` alone: DuckDB's bounds on time and memory hold only between its
                steps, and one call of `repeat` can take gigabytes.

        Raises:
            OptionError: If it is no condition on these columns.
            MissingDependencyError: If DuckDB is not installed.
        """
        if not isinstance(where, str) or not where.strip():
            raise OptionError(f"where={where!r} is no condition. One is: duration_s < 2 AND path LIKE '%kick%'.")
        self.where = where
        self._columns = tuple(columns)
        self._threads, self._longest_s = threads, longest_s
        self._duckdb = _duckdb()
        tree = self._parsed()
        named = {names[-1].lower() for names in _values(tree, "column_names") if names}
        if unknown := sorted(named - {name.lower() for name in columns}):
            raise self._refused(f"it names {', '.join(unknown)}, and the library has {', '.join(columns)}")
        if plain:
            self._check_plain(tree)
        self.columns: tuple[str, ...] = tuple(name for name in columns if name.lower() in named)
        """Those that the condition names."""

    def rows(self, facts: Table) -> NDArray[np.int64]:
        """Numbers [n] of the rows that meet the condition, int64, in ascending order.

        Args:
            facts: A table with the columns of the condition.

        Raises:
            OptionError: If the condition cannot be evaluated, or takes more time than it may, or 512 MB.
        """
        numbered = facts.append_column(_ROW, arrow().array(np.arange(facts.num_rows, dtype=np.int64)))
        with self._duckdb.connect(config={**_SETTINGS, "threads": str(self._threads)}) as connection:
            connection.register("library", numbered)
            for name, value in _LOCKED.items():
                connection.execute(f"SET {name} = {value}")
            late = threading.Timer(self._longest_s, connection.interrupt)
            late.start()
            try:
                found = connection.execute(f"SELECT {_ROW} FROM library WHERE ({self.where}\n)").fetchnumpy()[_ROW]
            except self._duckdb.InterruptException as error:
                raise self._refused(f"it took more than {self._longest_s:g} s") from error
            except self._duckdb.Error as error:
                raise self._refused(describe_error(error)) from error
            finally:
                late.cancel()
        return np.sort(np.ma.getdata(found).astype(np.int64))

    def _parsed(self) -> Any:
        """The tree of the condition.

        Raises:
            OptionError: If it is not one expression without subqueries.
        """
        with self._duckdb.connect(config=_SETTINGS) as connection:
            trees = [
                json.loads(connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [statement]).fetchone()[0])
                for statement in ("SELECT 1 FROM library WHERE true", f"SELECT 1 FROM library WHERE ({self.where}\n)")
            ]
        plain, tree = trees
        if tree.get("error"):
            raise self._refused(str(tree.get("error_message", "")))
        if len(tree["statements"]) != 1:
            raise self._refused("it holds several statements")
        condition = tree["statements"][0]["node"].pop("where_clause", None)
        plain["statements"][0]["node"].pop("where_clause")
        if _without_places(tree) != _without_places(plain) or condition is None:
            raise self._refused("it is more than a condition")
        if "SUBQUERY" in _values(condition, "class"):
            raise self._refused("it holds a query of its own")
        return condition

    def _check_plain(self, tree: Any) -> None:
        """Check that a tree has plain functions and types alone.

        Raises:
            OptionError: If it has others.
        """
        functions = {name.lower() for name in _values(tree, "function_name")}
        types = {name.upper() for name in _values(tree, "type_name")}
        others = sorted(functions - PLAIN_FUNCTIONS) + sorted(types - _PLAIN_TYPES)
        if others:
            raise self._refused(f"it uses {', '.join(others)}, which is not allowed here")

    def _refused(self, reason: str) -> OptionError:
        plain = " ".join(reason.partition(" LINE 1:")[0].split()).rstrip(".!? ")
        quoted = next((name for name in self._columns if f'at or near "{name}"' in plain.lower()), None)
        hint = f' The column {quoted} stands in double quotes, "{quoted}", for SQL has a word {quoted}.' if quoted else ""
        where = self.where if len(self.where) <= _LONGEST else f"{self.where[:_LONGEST]}…"
        return OptionError(
            f"where={where!r} cannot be used: {plain[: 2 * _LONGEST]}.{hint} It is a condition in SQL, such as "
            "duration_s < 2 AND path LIKE '%kick%'."
        )


def _duckdb() -> Any:
    try:
        return importlib.import_module("duckdb")
    except ImportError as error:
        raise MissingDependencyError(f"Filters (where) are evaluated by DuckDB: {install_hint('library')}") from error


def _values(tree: Any, key: str) -> list[Any]:
    """All values of a key, anywhere in nested objects and lists."""
    return list(_walk(tree, key))


def _walk(tree: Any, key: str) -> Iterator[Any]:
    if isinstance(tree, dict):
        for name, value in cast("dict[str, Any]", tree).items():
            if name == key:
                yield value
            yield from _walk(value, key)
    elif isinstance(tree, list):
        for value in cast("list[Any]", tree):
            yield from _walk(value, key)


def _without_places(tree: Any) -> Any:
    """A tree without positions in the text."""
    if isinstance(tree, dict):
        return {
            name: _without_places(value)
            for name, value in cast("dict[str, Any]", tree).items()
            if not name.startswith("query_location")
        }
    return [_without_places(value) for value in cast("list[Any]", tree)] if isinstance(tree, list) else tree
