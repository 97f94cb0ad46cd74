"""What other libraries and programs say about files that anybody may have made."""

from __future__ import annotations

_LONGEST = 800


def describe_error(error: BaseException) -> str:
    r"""The message of an error of another library on one line: printable, and at most 800 characters long.

    Libraries quote what they find in a file, and a damaged one may have anything in the place of a name.

    Example:
        >>> describe_error(ValueError("no operator \x1b[31m\x00 of\nversion 3"))
        'no operator \\x1b[31m\\x00 of version 3'
    """
    words = " ".join(str(error)[: 4 * _LONGEST].split())
    shown = escape_unprintable(words)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def escape_unprintable(text: str) -> str:
    r"""The text with escapes for all characters that are not printable, line feeds included.

    Example:
        >>> escape_unprintable("a\x1b[0m\ud800é")
        'a\\x1b[0m\\ud800é'
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
