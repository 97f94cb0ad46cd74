"""Python models of a Triton repository, one class for each of its Python steps.

A repository that was built holds one line for each, `from claprt.triton.backend import Pooling as TritonPythonModel`: so a
newer claprt beside an older repository runs the newer code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from claprt.arrays import Array, Embeddings, LogMel, Waveform
from claprt.audio.decode import check_finite
from claprt.audio.features import model_inputs
from claprt.audio.log_mel import log_mel
from claprt.audio.long_audio import audio_windows, limit_duration, long_audio_policy
from claprt.audio.preprocess import int16_round_trip, preprocess_blocks, recipe
from claprt.audio.raw_audio import check_samples, raw_source
from claprt.audio.sound import open_sound
from claprt.bundle.graphs import Stage
from claprt.errors import ArrayError, EmptyAudioError, TextError
from claprt.model.batching import run_audio_batch
from claprt.model.results import mean_pool
from claprt.scoring.classification import score_labels
from claprt.text.tokenizer import Tokenizer, pad
from claprt.triton.backend.adapter import (
    Inputs,
    Steps,
    check_distinct,
    parameter,
    text_rows,
    tower,
    version_bundle,
)

_ADVICE = 'Send fewer or shorter sounds, or let the client cut them, as claprt.load("triton://…") does.'


class Model(ABC):
    """What Triton calls: `initialize` once for each instance, then `execute` with one or more requests."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load what the model needs.

        Args:
            args: Triton's: the repository, the version, the configuration as JSON.
        """
        self.steps = Steps(import_module("triton_python_backend_utils"))

    @abstractmethod
    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request, in their order."""


class EachRequest(Model):
    """A model that computes one request after the other."""

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request, in their order."""
        return self.steps.each(requests, self.answer)

    @abstractmethod
    def answer(self, inputs: Inputs, wanted: frozenset[str]) -> Mapping[str, Array]:
        """Outputs [rows, ...] by name, at least those that are wanted."""


class AudioDecoder(EachRequest):
    """Files (decoded at their own rate), or raw float32 samples at a stated one, to windows: waveforms or log-mels."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Read the manifest and the largest number of windows in one request."""
        super().initialize(args)
        self.facts = version_bundle(args).manifest.audio
        self.limit = int(parameter(args, "max_windows"))
        self.recipe = recipe("laion")
        self.views = long_audio_policy(None, self.facts, None, None)  # four views of the whole where fused, else windows
        self.windows = long_audio_policy("windows", self.facts, None, None)

    def answer(self, inputs: Inputs, wanted: frozenset[str]) -> Mapping[str, Array]:
        """`audio` [files] of bytes, perhaps `sample_rate` [1], to rows of all files and `windows` [files], their counts.

        The rows are `waveforms` [rows, samples] float32 where these are wanted, else `log_mels`
        [rows, views, frames, mels] float32 and `is_longer` [rows, 1]: of a fused bundle there are not as many of each.

        Raises:
            EmptyAudioError: If no file was given.
        """
        if len(inputs["audio"]) == 0:
            raise EmptyAudioError("audio names no file; give at least one.")
        rate = int(inputs["sample_rate"][0]) if "sample_rate" in inputs else None
        cut = self._cut_waveforms if "waveforms" in wanted else self._cut_views
        files: list[list[dict[str, Array]]] = []
        left = self.limit
        for data in inputs["audio"]:
            files.append(list(cut(self._blocks(data, rate, left))))
            left -= len(files[-1])
        rows = [row for file in files for row in file]
        outputs = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return outputs | {"windows": np.array([len(file) for file in files], np.int32)}

    def _blocks(self, data: bytes, rate: int | None, windows: int) -> Iterator[Waveform]:
        model_rate = self.facts.mel.sample_rate
        sound = open_sound(data if rate is None else raw_source(data), rate, model_rate, trust_levels=True)
        blocks = limit_duration(windows, sound.blocks, sound.rate, self.facts, _ADVICE)
        return preprocess_blocks(replace(sound, blocks=blocks), self.recipe, model_rate)

    def _cut_waveforms(self, blocks: Iterator[Waveform]) -> Iterator[dict[str, Array]]:
        for _, window in audio_windows(blocks, self.facts, self.windows):
            yield {"waveforms": window[: self.facts.window_samples]}

    def _cut_views(self, blocks: Iterator[Waveform]) -> Iterator[dict[str, Array]]:
        for view in model_inputs(blocks, self.facts, self.recipe, self.views):
            yield {"log_mels": view.log_mels, "is_longer": np.array([view.is_longer])}


class LogMelFrontEnd(EachRequest):
    """Waveforms to log-mels as claprt computes them in process."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Read the manifest."""
        super().initialize(args)
        self.facts = version_bundle(args).manifest.audio

    def answer(self, inputs: Inputs, wanted: frozenset[str]) -> Mapping[str, Array]:
        """`waveforms` [batch, samples] float32 to `log_mels` [batch, views, frames, mels] float32 in dB.

        `is_longer` [batch, 1], False, is for the tower of a fused bundle.
        """
        rows = [self._log_mel(row) for row in inputs["waveforms"]]
        views = np.repeat(np.stack(rows)[:, None], self.facts.views, axis=1)
        return {"log_mels": views, "is_longer": np.zeros((len(views), 1), np.bool_)}

    def _log_mel(self, waveform: Waveform) -> LogMel:
        samples = check_finite("waveforms", check_samples("waveforms", waveform))
        return log_mel(int16_round_trip(samples), self.facts.mel)


class AudioTower(Model):
    """Log-mels to embeddings on claprt's own engine: one sound on all cores, several side by side."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the engine, also the one for batches, which the first batch would wait for."""
        super().initialize(args)
        self.engine = tower(args, Stage.AUDIO)
        self.engine.batch_engine()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request, computed together."""
        return self.steps.merged(requests, self.run)

    def run(self, inputs: Inputs) -> Mapping[str, Array]:
        """`log_mels` [batch, views, frames, mels] to `audio_embeddings` [batch, dim] float32.

        The tower of a fused bundle takes `is_longer` [batch, 1] too.
        """
        return {"audio_embeddings": run_audio_batch(self.engine, inputs["log_mels"], inputs.get("is_longer"))}


class Pooling(EachRequest):
    """Embeddings of windows to embeddings of files."""

    def answer(self, inputs: Inputs, wanted: frozenset[str]) -> Mapping[str, Array]:
        """`window_embeddings` [rows, dim] and `windows` [files], their counts, to `audio_embeddings` [files, dim].

        Raises:
            ArrayError: If the counts do not add up to the rows, or rows are zero or not finite.
        """
        vectors, windows = inputs["window_embeddings"], inputs["windows"]
        if windows.size == 0 or windows.min() < 1 or windows.sum() != len(vectors):
            raise ArrayError(f"windows counts {windows.tolist()}, and there are {len(vectors)} rows of window_embeddings.")
        files = np.split(vectors, np.cumsum(windows)[:-1])
        if not all(np.isfinite(file).all() and file.any() for file in files):
            raise ArrayError("window_embeddings must be unit vectors; the rows of a file are 0, or NaN or infinity.")
        return {"audio_embeddings": np.stack([mean_pool(file) for file in files])}


class TextTokenizer(EachRequest):
    """Texts to token ids."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the tokenizer, and read the largest number of texts in one request."""
        super().initialize(args)
        bundle = version_bundle(args)
        self.facts = bundle.manifest.text
        self.tokenizer = Tokenizer(bundle.tokenizer_path, self.facts)
        self.max_texts = int(parameter(args, "max_texts"))

    def answer(self, inputs: Inputs, wanted: frozenset[str]) -> Mapping[str, Array]:
        """`text` [n] as UTF-8 bytes to `token_ids` and `attention_mask` [n, tokens] int64.

        Raises:
            TextError: If there are no texts, too many, or one that is not UTF-8.
        """
        texts: list[bytes] = list(inputs["text"])
        if not 1 <= len(texts) <= self.max_texts:
            raise TextError(f"This server takes 1 to {self.max_texts} texts in one request; got {len(texts)}.")
        try:
            decoded = [text.decode() for text in texts]
        except UnicodeDecodeError as error:
            raise TextError(f"A text is UTF-8; this one is not: {error}.") from error
        token_ids, mask = pad(self.tokenizer.encode(decoded), self.facts.pad_token_id)
        return {"token_ids": token_ids, "attention_mask": mask}


class TextTower(Model):
    """Token ids to embeddings on claprt's own engine."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the engine, and run it once: Triton's own warm-up has zeros only, also as the mask."""
        super().initialize(args)
        self.engine = tower(args, Stage.TEXT)
        self.facts = version_bundle(args).manifest.text
        ones = np.ones((1, 16), np.int64)
        self.run({"token_ids": ones, "attention_mask": ones})

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request, computed together."""
        return self.steps.merged(requests, self.run)

    def run(self, inputs: Inputs) -> Mapping[str, Array]:
        """`token_ids` and `attention_mask` [n, tokens] to `text_embeddings` [n, dim] float32."""
        return {"text_embeddings": text_rows(self.engine, self.facts, inputs["token_ids"], inputs["attention_mask"])}


class ZeroShot(EachRequest):
    """How well each text fits each sound."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Read the checkpoint's logit scale."""
        super().initialize(args)
        self.scale = version_bundle(args).manifest.logit_scale_a

    def answer(self, inputs: Inputs, wanted: frozenset[str]) -> Mapping[str, Array]:
        """`audio_embeddings` [sounds, dim] and `text_embeddings` [texts, dim] to scores [sounds, texts].

        The scores are `similarities` (cosines), `logits` (by the checkpoint's scale) and `probabilities` (of the texts).

        Raises:
            ArrayError: If there are no sounds or no texts.
        """
        sounds: Embeddings = inputs["audio_embeddings"]
        texts: Embeddings = inputs["text_embeddings"]
        if not len(sounds) or not len(texts):
            raise ArrayError(f"There are {len(sounds)} sounds and {len(texts)} texts; give at least one of each.")
        check_distinct(texts)
        rows = [score_labels(vector, texts, self.scale) for vector in sounds]
        names = ("similarities", "logits", "probabilities")
        return {name: np.stack([row[place] for row in rows]) for place, name in enumerate(names)}
