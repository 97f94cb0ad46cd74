"""What `claprt.embed` gives: sounds and texts of one space side by side, and how alike they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embeddings
from claprt.errors import FingerprintError, OptionError
from claprt.scoring.classification import as_cosines
from claprt.validation import whole_number


class Vectors(np.ndarray[Any, np.dtype[np.float32]]):
    """An array of numpy that also has `numpy()`, as arrays of mlx and torch do: code that was written for those runs on."""

    def numpy(self) -> NDArray[np.float32]:
        """The same array [n, dim] float32 as a plain `numpy.ndarray`, not copied."""
        return self.view(np.ndarray)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointEmbedding:
    """Vectors of sounds, of texts, or of both, one row for each."""

    audio_embedding: Vectors | None = None
    """[sounds, dim] float32, or None without sounds."""
    text_embedding: Vectors | None = None
    """[texts, dim] float32, or None without texts."""
    text_labels: tuple[str, ...] | None = None
    """The texts."""
    fingerprint: str = ""
    """Only vectors with equal fingerprints are comparable."""
    model_name: str = ""
    """The bundle's name."""
    similarity: NDArray[np.float32] | None = field(init=False)
    """Cosines [sounds, texts] float32, or None without both."""

    def __post_init__(self) -> None:
        cosines = None
        if self.audio_embedding is not None and self.text_embedding is not None:
            audio, text = unit_rows(self.audio_embedding.numpy()), unit_rows(self.text_embedding.numpy())
            cosines = as_cosines(np.einsum("ad,td->at", audio, text))
        object.__setattr__(self, "similarity", cosines)

    @property
    def audio_embeds(self) -> Vectors | None:
        """Alias of `audio_embedding`, as in mlx-audio."""
        return self.audio_embedding

    @property
    def text_embeds(self) -> Vectors | None:
        """Alias of `text_embedding`, as in mlx-audio."""
        return self.text_embedding

    @property
    def metadata(self) -> dict[str, Any]:
        """The fingerprint, under mlx-audio's name."""
        return {"fingerprint": self.fingerprint}

    @property
    def vectors(self) -> Vectors:
        """`audio_embedding`, or `text_embedding` without sounds."""
        found = self.text_embedding if self.audio_embedding is None else self.audio_embedding
        assert found is not None  # `embed` refuses to be asked for nothing
        return found

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    def to_numpy(self) -> NDArray[np.float32]:
        """`vectors` [n, dim] float32 as a plain `numpy.ndarray`, not copied."""
        return self.vectors.numpy()

    def best_match(self, top_k: int = 1, *, sound: int = 0) -> str | list[str]:
        """Find the text that fits a sound best; for `top_k` above 1 a list of so many, the best first.

        Args:
            top_k: Number of texts; all if there are fewer.
            sound: Position of the sound.

        Raises:
            OptionError: If sounds or texts are missing, or there is no such sound.
        """
        if self.similarity is None or self.text_labels is None:
            raise OptionError("best_match needs sounds and texts: embed(audio=…, text=[…]).")
        top_k, sound = whole_number("top_k", top_k), whole_number("sound", sound)
        if top_k < 1 or not -len(self.similarity) <= sound < len(self.similarity):
            raise OptionError(f"top_k={top_k} of sound {sound} is not possible; there are {len(self.similarity)} sounds.")
        order = np.argsort(-self.similarity[sound], kind="stable")[:top_k]
        found = [self.text_labels[int(position)] for position in order]
        return found[0] if top_k == 1 else found

    def cosine_similarity(self, other: JointEmbedding) -> float:
        """Compute the cosine of the first vectors of both.

        Raises:
            FingerprintError: If their fingerprints differ.
        """
        if self.fingerprint != other.fingerprint:
            raise FingerprintError(f"Vectors of {self.fingerprint} and of {other.fingerprint} are not comparable.")
        first, second = unit_rows(self.to_numpy()[:1])[0], unit_rows(other.to_numpy()[:1])[0]
        return float(as_cosines(np.einsum("d,d", first, second)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "audio_embedding": None if self.audio_embedding is None else self.audio_embedding.tolist(),
            "text_embedding": None if self.text_embedding is None else self.text_embedding.tolist(),
            "text_labels": None if self.text_labels is None else list(self.text_labels),
            "similarity": None if self.similarity is None else self.similarity.tolist(),
            "fingerprint": self.fingerprint,
            "model_name": self.model_name,
        }

    def __repr__(self) -> str:
        parts = [
            f"{name} {list(rows.shape)}"
            for name, rows in (("audio", self.audio_embedding), ("text", self.text_embedding))
            if rows is not None
        ]
        best = f", best match {self.best_match()!r}" if self.similarity is not None and self.similarity.size else ""
        return f"<JointEmbedding {', '.join(parts)} of {self.model_name}{best}>"


def unit_rows(rows: Embeddings) -> Embeddings:
    """Rows [n, dim] brought to length 1; rows of zeros stay as they are."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
