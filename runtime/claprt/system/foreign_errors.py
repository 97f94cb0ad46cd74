"""What errors of other libraries say about files that anybody may have made."""

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
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in words)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
