"""An encoder with the interface of sentence-transformers, for code that takes one. That library is not needed.

    from claprt.integrations.sentence_transformers import ClapSentenceTransformer

    encoder = ClapSentenceTransformer("mini")
    encoder.similarity(encoder.encode_query(["a dog barking"]), encoder.encode_document(["dog.wav", "rain.flac"]))

As there, a string is a text, unless it ends like the name of a sound file; everything else is a sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from claprt.arrays import Array
from claprt.audio.sound import is_one_source
from claprt.errors import OptionError
from claprt.integrations.libraries import imported
from claprt.integrations.models import Model, embed_mixed, get_model, is_text


class ClapSentenceTransformer:
    """The methods of `sentence_transformers.SentenceTransformer` that embed and compare."""

    similarity_fn_name = "cosine"

    def __init__(self, model_name_or_path: Model = None, **options: Any) -> None:
        """Load a model.

        Args:
            model_name_or_path: What `claprt.load` takes, a loaded model, or None for the default model.
            options: Of `claprt.load`, such as `provider` and `precision`.

        Raises:
            ClaprtError: See `claprt.load`.
        """
        self.model = get_model(model_name_or_path, **options)

    def encode(
        self,
        inputs: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        *,
        sample_rate: int | None = None,
    ) -> Any:
        """Embed texts and sounds, which may be in one list.

        Args:
            inputs: Texts, and sounds as `Clap.embed_audio` takes them: one, or a list.
            prompt_name: Not supported; the model has no prompts of its own.
            prompt: Put before each text.
            batch_size: Without effect, as `show_progress_bar` and `device`: the model has a batch size of its own.
            show_progress_bar: Without effect.
            output_value: `sentence_embedding` alone.
            precision: `float32`, or `binary` or `ubinary` for the signs, eight to a byte.
            convert_to_numpy: Otherwise a list of torch tensors is returned.
            convert_to_tensor: Returns one torch tensor.
            device: Without effect.
            normalize_embeddings: Without effect; all vectors have length 1.
            truncate_dim: Not supported; the first numbers of a vector mean nothing by themselves.
            sample_rate: Rate of arrays in Hz.

        Returns:
            [dim] for one input, [inputs, dim] for a list, float32; [… dim / 8] int8 (`binary`) or uint8 (`ubinary`).

        Raises:
            OptionError: If an option is not supported.
            AudioError: If a sound cannot be embedded.
            TextError: If a text cannot be embedded.
        """
        del batch_size, show_progress_bar, device, normalize_embeddings
        self._check(prompt_name, output_value, precision, truncate_dim)
        one: bool = is_one_source(inputs)
        items: list[Any] = [inputs] if one else [*inputs]
        if prompt:
            items = [f"{prompt}{item}" if isinstance(item, str) and is_text(item) else item for item in items]
        rows: Array = embed_mixed(self.model, items, sample_rate)
        if precision != "float32":
            rows = np.packbits(rows > 0, axis=1)
            rows = rows if precision == "ubinary" else (rows.astype(np.int16) - 128).astype(np.int8)
        if convert_to_tensor or not convert_to_numpy:
            tensors = _torch().from_numpy(rows)
            return tensors[0] if one else tensors if convert_to_tensor else list(tensors)
        return rows[0] if one else rows

    def _check(self, prompt_name: str | None, output_value: str | None, precision: str, truncate_dim: int | None) -> None:
        for name, given, is_known in (
            ("prompt_name", prompt_name, prompt_name is None),
            ("output_value", output_value, output_value == "sentence_embedding"),
            ("precision", precision, precision in ("float32", "binary", "ubinary")),
            ("truncate_dim", truncate_dim, truncate_dim in (None, self.model.dim)),
        ):
            if not is_known:
                raise OptionError(f"{name}={given!r} is not supported by CLAP models here; leave it out.")

    def encode_query(self, inputs: Any, *arguments: Any, **options: Any) -> Any:
        """Embed what is searched for; the same as `encode`, because both sides have one space."""
        return self.encode(inputs, *arguments, **options)

    def encode_document(self, inputs: Any, *arguments: Any, **options: Any) -> Any:
        """Embed what is searched in; the same as `encode`."""
        return self.encode(inputs, *arguments, **options)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of all rows with all rows, [n, m] float32; a torch tensor if one of the arguments is."""
        return _like((embeddings1, embeddings2), _units(embeddings1) @ _units(embeddings2).T)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of rows with equal positions, [n] float32; a torch tensor if one of the arguments is."""
        return _like((embeddings1, embeddings2), (_units(embeddings1) * _units(embeddings2)).sum(1))

    def get_embedding_dimension(self) -> int:
        """Length of an embedding."""
        return self.model.dim

    def get_sentence_embedding_dimension(self) -> int:
        """Length of an embedding, by the name of versions before 6."""
        return self.model.dim

    def get_max_seq_length(self) -> int:
        """Tokens of a text beyond which it is truncated."""
        return self.model.manifest.text.max_tokens


def _units(vectors: Any) -> Array:
    if isinstance(vectors, Sequence):
        vectors = [_numbers(one) for one in vectors]
    rows = np.atleast_2d(_numbers(vectors))
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _numbers(vectors: Any) -> Array:
    return np.asarray(vectors.detach().cpu() if hasattr(vectors, "detach") else vectors, np.float32)


def _like(given: Sequence[Any], found: Array) -> Any:
    first = [one[0] if isinstance(one, list) and one else one for one in given]
    return _torch().from_numpy(found) if any(hasattr(one, "detach") for one in first) else found


def _torch() -> Any:
    return imported("torch", "from_numpy", package="torch")
