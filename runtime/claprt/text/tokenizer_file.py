"""Which `tokenizer.json` is run: one of parts that take time in proportion to a text.

The format of Hugging Face's `tokenizers` is a language: a normaliser may replace what any regular expression matches by any
text, and replace that again. A bundle of a stranger could so make a request take hours or all memory. Only parts that
tokenizers of RoBERTa and XLM-RoBERTa consist of, and their plain neighbours, are loaded.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

_MOST_BYTES = 64_000_000
_LONGEST = 256
"""Bytes that one character may become by a table of replacements; Unicode's longest is 33."""

_ADDED = 64
"""Tokens that a template may put around a text."""

_PARTS: dict[str, tuple[str | None, frozenset[str]]] = {
    "normalizer": (
        "normalizers",
        frozenset(
            [
                "NFC",
                "NFD",
                "NFKC",
                "NFKD",
                "Lowercase",
                "StripAccents",
                "Strip",
                "Nmt",
                "BertNormalizer",
                "Precompiled",
                "Replace",
            ]
        ),
    ),
    "pre_tokenizer": (
        "pretokenizers",
        frozenset(["ByteLevel", "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Metaspace", "Punctuation", "Digits"]),
    ),
    "post_processor": (
        "processors",
        frozenset(["RobertaProcessing", "BertProcessing", "TemplateProcessing", "ByteLevel"]),
    ),
    "decoder": (
        "decoders",
        frozenset(["ByteLevel", "BPEDecoder", "WordPiece", "Metaspace", "ByteFallback", "Fuse", "Strip"]),
    ),
    "model": (None, frozenset({"BPE", "WordLevel", "Unigram"})),
}
"""By section: the key under which a `Sequence` holds its parts, and the types that are known here."""


class _Model(msgspec.Struct):
    type: str = "BPE"  # older files do not say it
    dropout: float | None = None


class _File(msgspec.Struct):
    model: _Model
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None
    post_processor: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None


def check_tokenizer_file(content: bytes) -> None:
    """Check that a `tokenizer.json` has no part that may take time or memory out of proportion.

    Raises:
        ValueError: If it has such a part, or cannot be read.
    """
    if len(content) > _MOST_BYTES:
        raise ValueError(f"it has {len(content)} bytes, and {_MOST_BYTES} are the most")
    try:
        file = msgspec.json.decode(content, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if file.model.dropout:
        raise ValueError("its model drops merges at random, so the same text would have many vectors")
    _check("model", {"type": file.model.type}, 0)
    for section in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        part: dict[str, Any] | None = getattr(file, section)
        if part is not None:
            _check(section, part, 0)


def _check(section: str, part: Any, depth: int) -> None:
    inside, known = _PARTS[section]
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "Sequence" and inside is not None and isinstance(part.get(inside), list):
        if depth > 0 or len(part[inside]) > 4:
            raise ValueError(f"its {section} is a sequence of more than four parts, or of sequences")
        for one in part[inside]:
            _check(section, one, depth + 1)
    elif not isinstance(kind, str) or kind not in known:
        raise ValueError(f"its {section} is or has {kind!r:.60}, and known here are {', '.join(sorted(known))}")
    elif kind == "Replace":
        _check_replacement(part)
    elif kind == "Precompiled":
        _check_table(part)
    elif kind == "TemplateProcessing":
        _check_template(part)


def _check_template(part: dict[str, Any]) -> None:
    """Check that few tokens are added, which a special token of several ids multiplies.

    Raises:
        ValueError: If too many are added.
    """
    special = part.get("special_tokens") or {}
    several = any(len(token.get(key) or ()) > 1 for token in special.values() for key in ("ids", "tokens"))
    if several or any(len(part.get(key) or ()) > _ADDED for key in ("single", "pair")):
        raise ValueError(f"its post_processor adds more than {_ADDED} tokens, or several in one place")


def _check_replacement(part: dict[str, Any]) -> None:
    pattern, content = part.get("pattern"), part.get("content")
    plain = isinstance(pattern, dict) and (pattern == {"Regex": " {2,}"} or bool(pattern.get("String")))
    if not plain or not isinstance(content, str) or len(content) > 4:
        raise ValueError("its normalizer replaces by a regular expression, or by a long text")


def _check_table(part: dict[str, Any]) -> None:
    """Check sentencepiece's table: the size of a trie, the trie, and the texts that it leads to, each ended by a zero.

    Raises:
        ValueError: If it cannot be read, or a replacement is too long.
    """
    try:
        table = base64.b64decode(part.get("precompiled_charsmap") or "", validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its table of replacements cannot be read: {error}") from error
    texts = table[4 + int.from_bytes(table[:4], "little") :]
    if max(map(len, texts.split(b"\0"))) > _LONGEST:
        raise ValueError(f"its normalizer makes more than {_LONGEST} bytes of one character")
