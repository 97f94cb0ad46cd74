"""A model that keeps its vectors in a cache."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.errors import AudioError
from claprt.model import embedding_cache
from claprt.model.embedding_cache import EmbeddingCache, content_digest
from claprt.model.vector_cache import VectorCache

RATE = 48_000


@pytest.fixture
def counted(bundle: Path) -> tuple[claprt.Clap, list[int]]:
    """A model with a cache, and how many windows its tower was asked for."""
    clap = claprt.load(bundle, cache=True)
    asked: list[int] = []
    through = clap.engine.audio

    def audio(log_mels: Any, longer: Any) -> Any:
        asked.append(len(log_mels))
        return through(log_mels, longer)

    clap.engine.audio = audio  # pyright: ignore[reportAttributeAccessIssue]
    clap.engine.batch_engine = lambda: clap.engine  # pyright: ignore[reportAttributeAccessIssue]
    return clap, asked


class TestModel:
    def test_the_same_vectors_without_the_tower(
        self, counted: tuple[claprt.Clap, list[int]], clap: claprt.Clap, tmp_path: Path
    ) -> None:
        cached, asked = counted
        samples = SOUNDS["rain"](25 * RATE, RATE)
        soundfile.write(tmp_path / "long.wav", samples, RATE)
        sources: list[Any] = [
            tmp_path / "long.wav", (tmp_path / "long.wav").read_bytes(), samples[: 3 * RATE],
            np.stack([samples, samples])[:, ::7], (samples * 20_000).astype(np.int16)[:RATE],
        ]  # fmt: skip
        expected = clap.embed_audio(sources)
        assert np.allclose(cached.embed_audio(sources), expected, atol=1e-6)
        ran = sum(asked)
        assert ran > len(sources)
        again = list(cached.iter_audio(sources))
        assert sum(asked) == ran
        for sound, row, plain in zip(again, expected, clap.iter_audio(sources), strict=True):
            assert sound.vector is not None
            assert np.allclose(sound.vector, row, atol=1e-6)
            assert np.allclose(sound.windows, plain.windows, atol=1e-6)
            assert (sound.source, sound.starts_s, sound.fingerprint) == (plain.source, plain.starts_s, plain.fingerprint)
            sound.vector[0] = 5  # a copy: the next one is not harmed
        assert np.allclose(cached.embed_audio(sources), expected, atol=1e-6)

    def test_what_differs_has_another_key(self, clap: claprt.Clap) -> None:
        cached = EmbeddingCache(VectorCache(), clap.fingerprint)
        ones = np.ones(1000, np.float32)
        keys = {
            cached.key(ones, None, RATE), cached.key(ones, 8000, RATE), cached.key(ones[:999], None, RATE),
            cached.key(ones.astype(np.float64), None, RATE), cached.key(ones.reshape(2, 500), None, RATE),
            cached.key(ones.reshape(500, 2), None, RATE), cached.key(-ones, None, RATE),
            cached.key(ones.tobytes(), None, RATE),
            EmbeddingCache(VectorCache(), "another").key(ones, None, RATE), cached.text_key("a"), cached.text_key("b"),
        }  # fmt: skip
        assert len(keys) == 11
        assert cached.key(ones[::-1], None, RATE) == cached.key(ones, RATE, RATE)
        assert cached.key(np.ones(2000, np.float32)[::2], None, RATE) == cached.key(ones, None, RATE)
        for never in (io.BytesIO(b"x"), np.array([None]), "missing.wav", "a\0b"):
            assert cached.key(never, None, RATE) is None  # pyright: ignore[reportArgumentType]

    def test_long_buffers_are_hashed_whole(self) -> None:
        content = bytearray(np.random.default_rng(0).bytes(5_000_003))
        seen = {content_digest(memoryview(content))}
        for place in (0, 1_250_000, 2_500_001, 5_000_002):
            content[place] ^= 1
            seen.add(content_digest(memoryview(content)))
        assert len(seen) == 5
        size = -(-len(content) // 4)
        quarters = [hashlib.sha256(content[start : start + size]).digest() for start in range(0, len(content), size)]
        assert content_digest(memoryview(content)) == hashlib.sha256(b"".join(quarters)).digest()

    def test_ten_seconds_are_hashed_in_this_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Starting threads takes longer than they save."""
        monkeypatch.setattr(embedding_cache, "ThreadPoolExecutor", None)
        content = bytes(4 * 10 * RATE)
        assert content_digest(memoryview(content)) == hashlib.sha256(content).digest()

    def test_a_file_that_changes_is_another_sound(self, counted: tuple[claprt.Clap, list[int]], tmp_path: Path) -> None:
        cached, _ = counted
        path = tmp_path / "sound.wav"
        vectors: list[Any] = []
        for name in ("rain", "tone"):
            soundfile.write(path, SOUNDS[name](RATE, RATE), RATE)
            vectors += [cached.embed_audio(path), cached.embed_audio(path)]
        assert np.array_equal(vectors[0], vectors[1])
        assert np.array_equal(vectors[2], vectors[3])
        assert not np.allclose(vectors[0], vectors[2])

    def test_order_with_hits_misses_and_errors(
        self, counted: tuple[claprt.Clap, list[int]], clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embedding_cache, "_CHUNK", 16)
        cached, _ = counted
        random = np.random.default_rng(3)
        sounds: list[Any] = [random.normal(0, 0.1, 4800).astype(np.float32) for _ in range(40)]
        cached.embed_audio(sounds[::3])
        sounds[5] = np.empty(0)
        sounds[20] = "missing.wav"
        found = list(cached.iter_audio(iter(sounds)))
        assert len(found) == 40  # more than are looked up at a time
        assert [n for n, sound in enumerate(found) if sound.error is not None] == [5, 20]
        good = [n for n in range(40) if n not in (5, 20)]
        expected = clap.embed_audio([sounds[n] for n in good])
        vectors: list[Any] = [found[n].vector for n in good]
        assert np.allclose(np.stack(vectors), expected, atol=1e-6)
        assert found[5].error is not None  # and asked again it is an error again
        with pytest.raises(AudioError):
            cached.embed_audio([sounds[5]])

    def test_a_folder_is_shared_and_precision_and_recipe_are_kept_apart(self, bundle: Path, tmp_path: Path) -> None:
        sound = SOUNDS["rain"](RATE, RATE) * 0.3
        first = claprt.load(bundle, cache=tmp_path)
        expected = first.embed_audio(sound)
        second = claprt.load(bundle, cache=str(tmp_path))
        second.engine.audio = None  # pyright: ignore[reportAttributeAccessIssue]
        assert np.array_equal(second.embed_audio(sound), expected)
        other = claprt.load(bundle, cache=tmp_path, preprocess="kromosynth")
        assert not np.allclose(other.embed_audio(sound), expected, atol=1e-4)

    def test_labels_are_kept_and_texts_are_not(self, clap: claprt.Clap, bundle: Path) -> None:
        fresh = claprt.load(bundle)
        asked: list[int] = []
        through = fresh.engine.text

        def text(token_ids: Any, mask: Any) -> Any:
            asked.append(len(token_ids))
            return through(token_ids, mask)

        fresh.engine.text = text  # pyright: ignore[reportAttributeAccessIssue]
        labels = ["rain", "a dog", "wind"]
        for _ in range(3):
            assert np.allclose(fresh.embed_labels(labels), clap.embed_text(labels), atol=1e-6)
        assert sum(asked) == 3
        assert np.allclose(
            fresh.embed_labels(["wind", "snow", "wind"]), clap.embed_text(["wind", "snow", "wind"]), atol=1e-6
        )
        assert sum(asked) == 4
        fresh.embed_text(labels)
        assert sum(asked) == 7
        assert fresh.embed_labels([]).shape == (0, 512)

    @pytest.mark.timing
    def test_a_hit_costs_less_than_a_millisecond(self, tmp_path: Path) -> None:
        clap = claprt.load("mini", cache=tmp_path)
        sound = SOUNDS["rain"](RATE, 16_000)
        soundfile.write(tmp_path / "sound.wav", sound, 16_000)
        for source in (sound, tmp_path / "sound.wav"):
            clap.embed_audio(source, 16_000)
            times: list[float] = []
            for _ in range(20):
                started = time.perf_counter()
                clap.embed_audio(source, 16_000)
                times.append(time.perf_counter() - started)
            assert min(times) < 1e-3
