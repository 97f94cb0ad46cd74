"""Texts to token ids.

    tokenizer         `Tokenizer`, checks of texts, batches of texts of similar length
    tokenizer_file    which `tokenizer.json` files are accepted

Imports `bundle` and below.
"""

from typing import TYPE_CHECKING

from claprt._moved import attribute
from claprt.text.tokenizer import TextEncoder, Tokenizer, batches_by_length, pad, split_texts, validate_texts

__all__ = ["TextEncoder", "Tokenizer", "batches_by_length", "pad", "split_texts", "validate_texts"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return attribute(__name__, name)
