"""Texts to token ids."""

from claprt.text.tokenizer import TextEncoder, Tokenizer, batches_by_length, checked_texts, pad, split_texts

__all__ = ["TextEncoder", "Tokenizer", "batches_by_length", "checked_texts", "pad", "split_texts"]
