"""Words in paths: SQLite's full-text search (FTS5) over the folders and names of sounds, scored by BM25.

For one-shot samples a name such as `Kick_Hard.wav` is better evidence than the sound. The table is made at the first
search that asks for names, and brought up to date afterwards.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import PurePosixPath
from typing import cast
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from claprt.errors import OptionError
from claprt.library.search.snapshot import Snapshot
from claprt.system.foreign_errors import describe_error

_FILE = "names.sqlite"
_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_EMPTY_WORDS = frozenset({"a", "an", "and", "at", "by", "in", "is", "of", "on", "or", "the", "to", "with"})
_BATCH = 20_000


def words_of(path: str) -> list[str]:
    """The words of a path, its suffix left out.

    Example:
        >>> words_of("/samples/808 Kit/KickHard_02.wav")
        ['samples', '808', 'kit', 'kick', 'hard', '02']
    """
    plain = PurePosixPath(path.replace("\\", "/"))
    return [word.lower() for word in _WORD.findall(str(plain.with_suffix("")) if plain.suffix else str(plain))]


def name_scores(snapshot: Snapshot, texts: list[str]) -> NDArray[np.float32]:
    """How well the paths of sounds fit some words.

    Args:
        snapshot: The library.
        texts: Whose words are looked for, each in any order and in any form that the stem has.

    Returns:
        [sounds] BM25 as a share of the best sound's: 0 where no word is in the path, 1 for the best.

    Raises:
        OptionError: If this Python's SQLite has no full-text search.
    """
    scores = np.zeros(len(snapshot.starts), np.float32)
    words = {word for text in texts for word in words_of(f"{text} ")} - _EMPTY_WORDS
    if not words or not len(scores):
        return scores
    expression = " OR ".join(f'"{word}"' for word in sorted(words))
    try:
        with snapshot.files.lock(), contextlib.closing(_opened(snapshot)) as table:
            found = table.execute("SELECT rowid, bm25(names) FROM names WHERE names MATCH ?", [expression]).fetchall()
    except sqlite3.Error as error:
        raise OptionError(f"Names cannot be searched with this Python's SQLite: {describe_error(error)}.") from error
    if found:
        at, values = np.array(found, np.float64).T
        scores[at.astype(np.int64)] = values / values.min()  # BM25 of SQLite is negative
    return scores


def _opened(snapshot: Snapshot) -> sqlite3.Connection:
    """The table, covering the sounds of the snapshot."""
    path = snapshot.files.folder / _FILE
    for _ in range(2):
        table = sqlite3.connect(path)
        try:
            _bring_up_to_date(table, snapshot)
        except sqlite3.DatabaseError:
            table.close()
            path.unlink(missing_ok=True)  # damaged
            continue
        return table
    table = sqlite3.connect(":memory:")
    _bring_up_to_date(table, snapshot)
    return table


def _bring_up_to_date(table: sqlite3.Connection, snapshot: Snapshot) -> None:
    table.execute("CREATE TABLE IF NOT EXISTS covered (generation TEXT, sounds INTEGER)")
    row = table.execute("SELECT generation, sounds FROM covered").fetchone()
    known, sounds = cast("tuple[str, int]", row or ("", 0))
    if known != snapshot.state.generation or sounds > len(snapshot.starts):
        table.execute("DROP TABLE IF EXISTS names")
        table.execute("CREATE VIRTUAL TABLE names USING fts5(words, content='', tokenize='porter unicode61')")
        sounds = 0
    for start in range(sounds, len(snapshot.starts), _BATCH):
        batch = range(start, min(start + _BATCH, len(snapshot.starts)))
        facts = snapshot.facts_of([int(snapshot.starts[sound]) for sound in batch], ["path"])
        named = [(sound, " ".join(words_of(unquote(fact["path"])))) for sound, fact in zip(batch, facts, strict=True)]
        table.executemany("INSERT INTO names (rowid, words) VALUES (?, ?)", named)
    table.execute("DELETE FROM covered")
    table.execute("INSERT INTO covered VALUES (?, ?)", [snapshot.state.generation, len(snapshot.starts)])
    table.commit()
