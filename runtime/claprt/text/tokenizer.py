"""Strings to token ids, and the order in which a batch of texts is best run.

The tokenizer is the bundle's own `tokenizer.json`, run by Hugging Face's `tokenizers`; nothing here knows which one it is.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from claprt.arrays import AttentionMask, TokenIds
from claprt.bundle.manifest import TextConfig
from claprt.errors import BundleCorruptError, TextError, TextTypeError
from claprt.system.foreign_errors import describe_error
from claprt.validation import is_missing


class TextEncoder(Protocol):
    """Turn texts into token ids: a tokenizer here, or a server's."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text; raises `TextError` for one that cannot be embedded."""
        ...


class Tokenizer:
    """Turn texts into token ids, at most `facts.max_tokens` each, beginning and end marks included."""

    def __init__(self, path: Path, facts: TextConfig, sha256: str | None = None) -> None:
        """Read `tokenizer.json`.

        Args:
            path: Of the file.
            facts: Of the text tower.
            sha256: What the file has to hash to; None for whatever it is.

        Raises:
            BundleCorruptError: If it is not a tokenizer, has parts that are not supported, is another file than the
                exported one, or has ids beyond the embeddings of the text tower.
        """  # noqa: DOC501 - raises what ends the process again
        import tokenizers

        from claprt.text.tokenizer_file import check_tokenizer_file

        self._path, self._facts = path, facts
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleCorruptError(f"{path} cannot be read: {error.strerror}. Copy the bundle again.") from error
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise BundleCorruptError(
                f"{path} is not the file that was exported: it was changed since the bundle was loaded. Load it again."
            )
        try:
            check_tokenizer_file(content)
            self._tokenizer = tokenizers.Tokenizer.from_buffer(content)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # plain Exception, or what a panic of the library is, which is not an Exception
            raise BundleCorruptError(
                f"{path} is not a tokenizer: {describe_error(error)}. Export the bundle again."
            ) from error
        entries = self._tokenizer.get_vocab_size(with_added_tokens=True)
        if entries > facts.vocabulary:
            raise BundleCorruptError(
                f"{path} has {entries} entries and the text tower embeds {facts.vocabulary}: they do not belong together."
            )
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(facts.max_tokens)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text.

        Raises:
            TextTypeError: If a text is not a string.
            TextError: If a text is empty or cannot be encoded as UTF-8.
            BundleCorruptError: If the tokenizer fails, or gives ids beyond the embeddings of the text tower.
        """  # noqa: DOC501 - raises what ends the process again
        validate_texts(texts)
        try:
            found = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # as above
            raise BundleCorruptError(
                f"{self._path} fails on a text: {describe_error(error)}. Export the bundle again."
            ) from error
        for ids in found:
            if not 0 < len(ids) <= self._facts.max_tokens or max(ids) >= self._facts.vocabulary:
                raise BundleCorruptError(
                    f"{self._path} makes {len(ids)} tokens of a text, up to number {max(ids, default=-1)}; the text tower "
                    f"takes 1 to {self._facts.max_tokens}, of {self._facts.vocabulary}. Export the bundle again."
                )
        return found

    def text_of(self, ids: Sequence[int]) -> str | None:
        """The text that `encode` turns into these token ids, or None where they are of another tokenizer.

        Args:
            ids: [tokens], marks of beginning and end included; padding on the right does not count.
        """
        given = list(ids)
        while given and given[-1] == self._facts.pad_token_id:
            given.pop()
        if not given or not 0 <= min(given) <= max(given) < self._tokenizer.get_vocab_size(with_added_tokens=True):
            return None
        text = self._tokenizer.decode(given, skip_special_tokens=True)
        return text if text.strip() and self.encode([text])[0] == given else None


def split_texts(texts: str | Iterable[str]) -> tuple[bool, list[str]]:
    """Whether one text was given, and the texts as a list: of that one, else of those in a list, array, set or generator.

    Raises:
        TextTypeError: If it is neither a string nor an iterable of strings.
    """
    if isinstance(texts, str):
        return True, [texts]
    if isinstance(texts, bytes | bytearray | memoryview) or not isinstance(texts, Iterable):
        raise TextTypeError(_not_a_text(texts))
    if getattr(texts, "shape", None) == ():  # an array without axes cannot be iterated over
        return split_texts(cast("Any", texts).item())
    return False, [cast("Any", text).as_py() if hasattr(text, "as_py") else text for text in texts]  # pyarrow's scalars


def validate_texts(texts: Sequence[str]) -> Sequence[str]:
    """The texts themselves, if each can be embedded.

    Raises:
        TextTypeError: If a text is not a string.
        TextError: If a text is empty or cannot be encoded as UTF-8.
    """
    for text in texts:
        _check_text(text)
    return texts


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise TextTypeError(_not_a_text(text))
    if not text.strip():
        raise TextError(f"A text needs at least one word; got {text!r}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(f"The text {text!r:.60} cannot be encoded as UTF-8 ({error.reason}).") from error


def _not_a_text(text: object) -> str:
    said = f"A text is a string; got {type(text).__name__} ({text!r:.60})."
    if isinstance(text, bytes | bytearray | memoryview):
        return f"{said} Decode it first: text.decode()."
    if is_missing(text):
        return f"{said} Leave missing values out."
    return said


def batches_by_length(ids: Sequence[Sequence[int]], size: int | Callable[[int], int]) -> Iterator[list[int]]:
    """Positions of the texts in batches of similar length, so that short texts are not padded to the longest.

    Args:
        ids: Token ids of each text.
        size: Texts in a batch, or a function that gives it from the tokens of the shortest text left.

    Example:
        >>> list(batches_by_length([[0, 5, 2], [0, 5, 6, 7, 2], [0, 2]], 2))
        [[2, 0], [1]]
    """
    order, start = sorted(range(len(ids)), key=lambda position: len(ids[position])), 0
    while start < len(order):
        end = start + (size if isinstance(size, int) else size(len(ids[order[start]])))
        yield order[start:end]
        start = end


class Pace:
    """Sizes of batches of texts that take about as long as they should, from how long earlier ones took."""

    _MOST = 32

    def __init__(self, step_s: float) -> None:
        """`step_s` is what a batch should take, in seconds."""
        self._step_s = step_s
        self._tokens_per_s: deque[float] = deque(maxlen=8)

    def size(self, tokens: int) -> int:
        """Texts of so many tokens in the next batch, at least one."""
        if not self._tokens_per_s:
            return 1
        return min(self._MOST, max(1, int(self._step_s * statistics.median(self._tokens_per_s) / tokens)))

    def took(self, tokens: int, seconds: float) -> None:
        """Take note of a batch of so many tokens, padding included."""
        self._tokens_per_s.append(tokens / max(seconds, 1e-6))


def pad(ids: Sequence[Sequence[int]], pad_token_id: int) -> tuple[TokenIds, AttentionMask]:
    """Token ids [batch, tokens] padded on the right to the longest, and the mask that says what is real.

    Example:
        >>> pad([[0, 5, 2], [0, 2]], 1)[0].tolist()
        [[0, 5, 2], [0, 2, 1]]
    """
    tokens = max(map(len, ids))
    token_ids = np.full((len(ids), tokens), pad_token_id, np.int64)
    mask = np.zeros((len(ids), tokens), np.int64)
    for row, text in enumerate(ids):
        token_ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return token_ids, mask
