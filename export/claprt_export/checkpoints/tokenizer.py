"""The tokenizer that goes into a bundle: beside the checkpoint, given, fetched, or, for untrained weights, made up."""

from __future__ import annotations

from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from claprt_export.architecture import TextArchitecture
from claprt_export.errors import TokenizerError

BOS, PAD, EOS, UNK, MASK = "<s>", "<pad>", "</s>", "<unk>", "<mask>"


def read_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """A tokenizer from a `tokenizer.json`, or from a folder with one or with RoBERTa's `vocab.json` and `merges.txt`.

    Raises:
        TokenizerError: there is none, or it cannot be read.
    """
    if path.is_dir() and not (path / "tokenizer.json").is_file():
        return _from_vocabulary(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise TokenizerError(f"A tokenizer was asked for at {path}, and there is no such file.")
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception
        raise TokenizerError(f"{file} is not a tokenizer.json: {error}") from error


def _from_vocabulary(folder: Path) -> tokenizers.Tokenizer:
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if not (vocabulary.is_file() and merges.is_file()):
        raise TokenizerError(f"{folder} holds neither tokenizer.json nor vocab.json with merges.txt.")
    try:
        bpe = models.BPE.from_file(str(vocabulary), str(merges), unk_token=UNK)
    except Exception as error:  # tokenizers raises plain Exception
        raise TokenizerError(f"{folder} holds a vocabulary that cannot be read: {error}") from error
    return roberta(bpe)


def byte_level_tokenizer() -> tokenizers.Tokenizer:
    """RoBERTa's special tokens and one token for each byte: 261 entries that can spell any text."""
    names = [BOS, PAD, EOS, UNK, *sorted(pre_tokenizers.ByteLevel.alphabet()), MASK]
    return roberta(models.BPE({name: index for index, name in enumerate(names)}, [], unk_token=UNK))


def roberta(bpe: models.BPE) -> tokenizers.Tokenizer:
    """A tokenizer with RoBERTa's treatment of texts around a byte-level BPE that has its special tokens.

    Raises:
        TokenizerError: If the vocabulary lacks the marks of beginning and end.
    """
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([BOS, PAD, EOS, UNK, tokenizers.AddedToken(MASK, lstrip=True)])
    begin, end = bpe.token_to_id(BOS), bpe.token_to_id(EOS)
    if begin is None or end is None:
        raise TokenizerError(f"The vocabulary has no {BOS} or no {EOS}: it is not RoBERTa's.")
    tokenizer.post_processor = processors.RobertaProcessing((EOS, end), (BOS, begin), add_prefix_space=False)
    return tokenizer


def check_tokenizer(tokenizer: tokenizers.Tokenizer, text: TextArchitecture) -> None:
    """Compare a tokenizer with the text tower that shall read its ids.

    Raises:
        TokenizerError: it has ids without an embedding, another pad id, or does not mark begin and end.
    """
    entries = tokenizer.get_vocab_size(with_added_tokens=True)
    if entries > text.vocabulary:
        raise TokenizerError(
            f"The tokenizer has {entries} entries and the text tower embeds {text.vocabulary}: it is not the one that "
            "the checkpoint was trained with. Name the right one with --tokenizer."
        )
    pad = tokenizer.token_to_id(PAD)
    if pad != text.pad_token_id:
        raise TokenizerError(f"The tokenizer pads with id {pad}, the text tower expects {text.pad_token_id}.")
    ids = tokenizer.encode("a sound").ids
    if len(ids) < 3 or ids[0] != tokenizer.token_to_id(BOS) or ids[-1] != tokenizer.token_to_id(EOS):
        raise TokenizerError(f"The tokenizer does not put {BOS} and {EOS} around a text as RoBERTa's does: {ids}.")
