"""Labels and tags as callers give them: checked, and filled into the sentences that are embedded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from claprt.errors import OptionError, TextError, TextTypeError
from claprt.text.tokenizer import split_texts
from claprt.validation import whole_number


def apply_template(template: str | None, names: Sequence[str]) -> list[str]:
    """Labels as the sentences that are embedded.

    Raises:
        OptionError: If the template has no place for a label.

    Example:
        >>> apply_template("This is a sound of {}.", ["rain"])
        ['This is a sound of rain.']
    """
    if template is None:
        return list(names)
    if not isinstance(template, str) or "{}" not in template:
        raise OptionError(f"template={template!r} has no {{}} for the label, as in 'This is a sound of {{}}.'")
    return [template.replace("{}", name) for name in names]


def validate_labels(labels: Sequence[str], called: str = "labels") -> tuple[str, ...]:
    """Check labels and return them as a tuple; `called` is the argument's name in messages.

    Raises:
        TextError: If a label is empty.
        TextTypeError: If a label is not a string.
        OptionError: If `labels` is not a list, is empty, or a label occurs twice.
    """
    one = called.removesuffix("s")
    if isinstance(labels, str | bytes):
        raise OptionError(f"{called}={labels!r} is one string; give a list of {called}.")
    if not isinstance(labels, Iterable) or getattr(labels, "shape", None) == ():
        raise OptionError(f"{called}={labels!r} is not a list; give a list of {called}.")
    _, names = split_texts(labels)
    if not names:
        raise OptionError(f"{called} is empty; give at least one {one}.")
    for name in names:
        if not isinstance(name, str):
            decode = " Decode it first: label.decode()." if isinstance(name, bytes) else ""
            raise TextTypeError(f"A {one} must be a string; {type(name).__name__} was found ({name!r:.40}).{decode}")
        if not name.strip():
            raise TextError(f"A {one} is empty; give it a word.")
    names = tuple(map(str, names))
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        more = f" and {len(twice) - 3} more" if len(twice) > 3 else ""
        raise OptionError(f"{called} names {', '.join(map(repr, twice[:3]))}{more} more than once.")
    return names


def label_index(name: str | int, names: Sequence[str], one: str = "label") -> int:
    """The position of a label that is given by its name, or by a position counted from either end.

    Raises:
        OptionError: If there is no such label.

    Example:
        >>> label_index("rain", ["dog", "rain"]), label_index(-1, ["dog", "rain"])
        (1, 1)
    """
    if isinstance(name, str):
        if name not in names:
            raise OptionError(f"{name!r} is not among the {one}s {', '.join(map(repr, names))}.")
        return names.index(name)
    position = whole_number(one, name)
    if not -len(names) <= position < len(names):
        raise OptionError(f"There is no {one} {position}; there are {len(names)}.")
    return position % len(names)
