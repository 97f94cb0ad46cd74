"""Which columns of a table, or keys of JSON, hold the class and the captions of a sound, and their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from claprt.errors import DatasetError, OptionError
from claprt.evaluation.dataset import Item

LABELS = ("label", "category", "class", "class_name", "cls")
_CAPTION, _TEXT, _FOLD = "caption", "text", "fold"
_HOW = "name others with --label-column and --caption-column (in Python, columns=Columns(label=…, captions=…))"
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Columns that hold what a sound is; also the keys of JSON within webdataset's shards."""

    label: str | None = None
    """By default the first of `LABELS` that holds words."""
    captions: tuple[str, ...] = ()
    """By default those whose name begins with `caption`; where there are none, and no classes, `text`."""

    def __post_init__(self) -> None:
        names: list[object] = [*self.captions] if self.label is None else [self.label, *self.captions]
        if isinstance(self.captions, str) or not all(isinstance(name, str) and name for name in names):
            raise OptionError(f"Names of columns were expected, captions as a tuple of them; {self} was given.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Columns of one table."""

    where: str
    label: str | None
    captions: tuple[str, ...]
    fold: str | None

    @property
    def names(self) -> list[str]:
        """All of them, each once."""
        return list(dict.fromkeys(name for name in (self.label, *self.captions, self.fold) if name is not None))


def choose(where: str, found: Sequence[str], wanted: Columns, *, wordless: Iterable[str] = ()) -> Chosen:
    """Choose the columns of a table.

    Args:
        where: What the table is called in messages.
        found: Its columns.
        wanted: Those that the caller names.
        wordless: Columns that hold numbers or bytes, which are taken only if they are asked for.

    Raises:
        DatasetError: If one that was asked for is not there, or there is neither a class nor a caption.
    """
    for name in (wanted.label, *wanted.captions):
        if name is not None and _match(name, found) is None:
            raise DatasetError(f"{where} has no column {name!r}; it has {_listed(found)}.")
    counted = set(wordless)
    words = [name for name in found if name not in counted]
    label = next((match for name in LABELS if (match := _match(name, words)) is not None), None)
    label = _match(wanted.label, found) if wanted.label is not None else label
    captions = [name for name in words if name.lower().startswith(_CAPTION) and name != label]
    if wanted.captions:
        captions = [match for name in wanted.captions if (match := _match(name, found)) is not None]
    if label is None and not captions and (text := _match(_TEXT, words)) is not None:
        captions = [text]
    if label is None and not captions:
        held = next((name for name in found if name in counted and name.lower() in LABELS), None)
        numbered = "" if held is None else f" {held!r} holds no words, and nothing says what its values stand for."
        raise DatasetError(
            f"{where} has the columns {_listed(found)}.{numbered} A class is taken from one of {', '.join(LABELS)}, "
            f"captions from columns that begin with caption; {_HOW}."
        )
    return Chosen(where=where, label=label, captions=tuple(captions), fold=_match(_FOLD, found))


def _match(name: str, found: Iterable[str]) -> str | None:
    names = list(found)
    return name if name in names else next((one for one in names if one.strip().lower() == name.strip().lower()), None)


def _listed(found: Sequence[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(name for name in found[:_SHOWN] if name) + more or "none"


def filled(item: Item, row: Mapping[str, Any], columns: Chosen) -> Item:
    """An item with what its row says.

    Raises:
        DatasetError: If a value is no class or no caption.
    """
    return replace(
        item,
        label=None if columns.label is None else _class(row.get(columns.label), columns, columns.label),
        captions=tuple(text for name in columns.captions for text in _captions(row.get(name), columns, name)),
        fold=None if columns.fold is None or row.get(columns.fold) is None else str(row[columns.fold]),
    )


def _class(value: Any, columns: Chosen, name: str) -> str | None:
    if isinstance(value, list) and len(cast("list[Any]", value)) == 1:
        (value,) = value
    if value is None:
        return None
    if not isinstance(value, str):
        what = "a number, and nothing says what it stands for" if isinstance(value, int | float) else "no single word"
        raise DatasetError(f"{columns.where}: {name!r} holds {value!r:.60}, {what}. A sound has one class; {_HOW}.")
    return value.strip().replace("_", " ") or None


def _captions(value: Any, columns: Chosen, name: str) -> list[str]:
    values: list[Any] = value if isinstance(value, list) else [value]
    texts = [text for text in values if text is not None]
    if strange := [text for text in texts if not isinstance(text, str)]:
        raise DatasetError(f"{columns.where}: {name!r} holds {strange[0]!r:.60}, which is no caption; {_HOW}.")
    return [text.strip() for text in texts if text.strip()]


def merged(where: str, items: Iterable[Item]) -> list[Item]:
    """Items with one for each file: rows of one file, such as one for each caption, are one sound.

    Raises:
        DatasetError: If rows of one file state different classes or folds.
    """
    found: dict[str, Item] = {}
    for item in items:
        first = found.setdefault(str(item.path), item)
        if first is item:
            continue
        for what, one, other in (("class", first.label, item.label), ("fold", first.fold, item.fold)):
            if one != other:
                raise DatasetError(
                    f"{where} has several rows of {item.path}, whose {what} is {one!r} in one, {other!r} in another."
                )
        found[str(item.path)] = replace(first, captions=tuple(dict.fromkeys((*first.captions, *item.captions))))
    return list(found.values())
