"""Every model of the repository on a real server, through every protocol, against the same bundle in process."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

import claprt
from claprt.audio.preprocess import int16_round_trip
from claprt.audio.synthetic import SOUNDS
from claprt.engines.triton.engine import TritonEngine
from claprt.errors import ArrayError
from claprt.triton import AsyncTritonEngine
from tests.triton.asking import Array, ask, ask_http, inputs_of, statistics, strings, wav
from tests.triton.server import Server

RATE, WINDOW = 48_000, 480_000
GUIDE = Path(__file__).parents[2] / "docs" / "triton.md"
LIMIT = 1e-6
TEXTS = ("a dog barking", "дождь по крыше", "雨の音 🌧", "é" * 200, "x")


@pytest.fixture(scope="module")
def sounds() -> Array:
    return np.stack([make(WINDOW, RATE) for make in list(SOUNDS.values())[1:6]])


@pytest.fixture(scope="module")
def files(sounds: Array) -> list[bytes]:
    """Short, long, longer than a window by less than a hop, of other rates, formats and channels."""
    return [
        wav(sounds[0][:20_000], 16_000),
        wav(np.tile(sounds[1], 3)[:1_000_123], 44_100, "FLAC", "PCM_16"),
        wav(np.tile(sounds[2], 2)[: WINDOW + 300], RATE),
        wav(np.stack([sounds[3], sounds[4]], axis=1), 22_050, "OGG", "VORBIS"),
    ]


class TestEnsembles:
    def test_waveforms(self, server: Server, clap: claprt.Clap, sounds: Array) -> None:
        """Levels beyond full scale included: they are clipped and rounded on the server as they are in process."""
        loud = sounds * np.float32(1.7)
        found = ask(server, "clap_audio", "audio_embeddings", waveforms=loud)["audio_embeddings"]
        assert np.abs(found - clap.embed_audio(list(loud))).max() <= LIMIT
        again = ask(server, "clap_audio", "audio_embeddings", waveforms=np.stack([int16_round_trip(row) for row in loud]))
        assert np.array_equal(again["audio_embeddings"], found)

    def test_files(self, server: Server, clap: claprt.Clap, files: list[bytes]) -> None:
        found = ask(server, "clap_audio_file", "audio_embeddings", audio=strings(*files))["audio_embeddings"]
        assert np.abs(found - clap.embed_audio(files)).max() <= LIMIT

    def test_raw_samples(self, server: Server, clap: claprt.Clap, sounds: Array) -> None:
        rate = np.array([22_050], np.int32)
        raw = strings(sounds[0][:90_001].astype("<f4").tobytes())
        found = ask(server, "clap_audio_file", "audio_embeddings", audio=raw, sample_rate=rate)["audio_embeddings"]
        assert np.abs(found[0] - clap.embed_audio(sounds[0][:90_001], 22_050)).max() <= LIMIT

    def test_texts(self, server: Server, clap: claprt.Clap) -> None:
        found = ask(server, "clap_text", "text_embeddings", text=strings(*TEXTS))["text_embeddings"]
        assert np.abs(found - clap.embed_text(TEXTS)).max() <= LIMIT

    def test_classify(self, server: Server, clap: claprt.Clap, files: list[bytes]) -> None:
        names = ("probabilities", "logits", "similarities")
        found = ask(server, "clap_classify", *names, audio=strings(*files[:2]), labels=strings(*TEXTS))
        expected = claprt.classify(files[:2], labels=TEXTS, model=clap)
        for name in names:
            rows = np.stack([getattr(result, name) for result in expected])
            assert found[name].shape == (2, len(TEXTS))
            assert np.abs(found[name] - rows).max() <= 1e-5
        assert np.allclose(found["probabilities"].sum(axis=1), 1)


class TestSteps:
    def test_decode(self, server: Server, files: list[bytes]) -> None:
        found = ask(server, "decode", "waveforms", "windows", audio=strings(*files))
        assert found["windows"].tolist() == [1, 3, 1, 3]
        assert found["waveforms"].shape == (8, WINDOW)
        mels = ask(server, "decode", "log_mels", "windows", audio=strings(*files))
        again = ask(server, "log_mel", "log_mels", waveforms=found["waveforms"])["log_mels"]
        same = [0, 1, 2, 3, 5, 6, 7]  # of the file that is a little longer than a window, waveforms lose the end
        assert np.array_equal(again[same], mels["log_mels"][same])
        with grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:  # which names no output
            every: Any = client.infer("decode", inputs_of(grpc, {"audio": strings(*files)}))
        assert np.array_equal(every.as_numpy("waveforms"), found["waveforms"])
        assert every.as_numpy("log_mels") is None

    def test_pool_and_zero_shot(self, server: Server) -> None:
        rows = np.eye(4, 512, dtype=np.float32)
        counts = np.array([1, 3], np.int32)
        found = ask(server, "pool", "audio_embeddings", window_embeddings=rows, windows=counts)["audio_embeddings"]
        assert np.array_equal(found[0], rows[0])
        assert np.allclose(found[1, 1:4], 3**-0.5)
        with pytest.raises(InferenceServerException, match="windows counts"):
            ask(server, "pool", "audio_embeddings", window_embeddings=rows, windows=np.array([1, 2], np.int32))
        cosines = ask(server, "zero_shot", "similarities", audio_embeddings=rows[:1], text_embeddings=rows[:2])
        assert cosines["similarities"].tolist() == [[1.0, 0.0]]

    def test_tokenizer(self, server: Server, clap: claprt.Clap) -> None:
        found = ask(server, "tokenizer", "token_ids", "attention_mask", text=strings(*TEXTS))
        rows = [ids[: mask.sum()].tolist() for ids, mask in zip(found["token_ids"], found["attention_mask"], strict=True)]
        assert rows == clap.tokenizer.encode(TEXTS)


class TestProtocols:
    def test_http(self, server: Server, clap: claprt.Clap, sounds: Array) -> None:
        found = ask_http(server, "clap_audio", "audio_embeddings", waveforms=sounds[:2])["audio_embeddings"]
        assert np.abs(found - clap.embed_audio(list(sounds[:2]))).max() <= LIMIT

    def test_json(self, server: Server, clap: claprt.Clap, sounds: Array) -> None:
        expected = clap.embed_audio(sounds[0])
        found = ask_http(server, "clap_audio", "audio_embeddings", binary=False, waveforms=sounds[:1])["audio_embeddings"]
        assert np.abs(found[0] - expected).max() <= LIMIT
        texts = ask_http(server, "clap_text", "text_embeddings", binary=False, text=strings(*TEXTS))["text_embeddings"]
        assert np.abs(texts - clap.embed_text(TEXTS)).max() <= LIMIT

    @pytest.mark.parametrize("protocol", ["grpc", "http"])
    @pytest.mark.parametrize("shared_memory", [True, False])
    def test_engine(self, server: Server, clap: claprt.Clap, sounds: Array, protocol: str, shared_memory: bool) -> None:
        served = claprt.load(getattr(server, protocol), server={"shared_memory": shared_memory})
        assert isinstance(served.engine, TritonEngine)
        assert served.fingerprint == clap.fingerprint
        assert served.provider == "triton"
        assert served.manifest == clap.manifest
        long = [*sounds, np.tile(sounds[0], 3)[:1_200_000], sounds[1][:999]]
        assert np.abs(served.embed_audio(long) - clap.embed_audio(long)).max() <= LIMIT
        assert np.abs(served.embed_text(TEXTS) - clap.embed_text(TEXTS)).max() <= LIMIT
        assert served.engine.sharing is shared_memory
        result = claprt.classify(sounds[0], labels=TEXTS, model=served)
        assert result.predicted_class == claprt.classify(sounds[0], labels=TEXTS, model=clap).predicted_class

    def test_more_rows_than_a_batch(self, served: claprt.Clap, clap: claprt.Clap) -> None:
        texts = [f"text {number}" for number in range(300)]
        assert np.abs(served.embed_text(texts) - clap.embed_text(texts)).max() <= LIMIT
        mels = np.random.default_rng(0).normal(-30, 10, (70, 1, 1001, 64)).astype(np.float32)
        assert np.abs(served.engine.audio(mels, None) - clap.engine.audio(mels, None)).max() <= LIMIT

    def test_arrays_that_do_not_fit_are_refused_here(self, served: claprt.Clap) -> None:
        engine: Any = served.engine
        for shape, dtype in (((1, 1, 1001, 64), "float64"), ((0, 1, 1001, 64), "float32"), ((1, 1001, 64), "float32")):
            with pytest.raises(ArrayError):
                engine.audio(np.zeros(shape, dtype), None)
        with pytest.raises(ArrayError, match="is_longer was given as well"):
            engine.audio(np.zeros((1, 1, 1001, 64), np.float32), np.zeros((1, 1), np.bool_))

    def test_asynchronous(self, server: Server, clap: claprt.Clap) -> None:
        mels = np.random.default_rng(1).normal(-30, 10, (12, 1, 1001, 64)).astype(np.float32)

        async def vectors() -> list[Array]:
            async with AsyncTritonEngine(server.grpc) as engine:
                assert engine.served.manifest == clap.manifest
                return await asyncio.gather(*(engine.audio(row[None]) for row in mels))

        assert np.abs(np.concatenate(asyncio.run(vectors())) - clap.engine.audio(mels, None)).max() <= LIMIT


class TestServing:
    def test_requests_are_merged(self, server: Server, clap: claprt.Clap) -> None:
        mels = np.random.default_rng(4).normal(-30, 10, (40, 1, 1001, 64)).astype(np.float32)
        before = statistics(server, "audio_tower")
        with grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
            done = threading.Semaphore(0)
            replies: list[Array | None] = [None] * len(mels)

            def kept(number: int, result: grpc.InferResult | None) -> None:
                replies[number] = result.as_numpy("audio_embeddings") if result else None
                done.release()

            for number, mel in enumerate(mels):
                tensors = inputs_of(grpc, {"log_mels": mel[None]})
                client.async_infer("audio_tower", tensors, lambda result, error, n=number: kept(n, result))
            for _ in replies:
                assert done.acquire(timeout=60)
        after = statistics(server, "audio_tower")
        requests = int(after["inference_count"]) - int(before["inference_count"])
        executions = int(after["execution_count"]) - int(before["execution_count"])
        assert requests == len(mels)
        assert executions < len(mels)
        assert all(reply is not None for reply in replies)
        found = np.concatenate([reply for reply in replies if reply is not None])
        assert np.abs(found - clap.engine.audio(mels, None)).max() <= LIMIT

    def test_the_same_question_is_answered_from_the_cache(self, server: Server, files: list[bytes]) -> None:
        texts = strings("asked twice", "and twice")
        first = ask(server, "clap_text", "text_embeddings", text=texts)["text_embeddings"]
        before = statistics(server, "clap_text")["inference_stats"].get("cache_hit", {}).get("count", 0)
        again = ask(server, "clap_text", "text_embeddings", text=texts)["text_embeddings"]
        after = statistics(server, "clap_text")["inference_stats"]["cache_hit"]["count"]
        assert int(after) == int(before) + 1
        assert np.array_equal(again, first)

    def test_clients_side_by_side(self, served: claprt.Clap, clap: claprt.Clap, sounds: Array) -> None:
        rows = [np.roll(sounds[number % 5], 7 * number) for number in range(48)]
        with ThreadPoolExecutor(8) as pool:
            found = np.stack(list(pool.map(served.embed_audio, rows)))
        assert np.abs(found - clap.embed_audio(rows)).max() <= LIMIT

    def test_metrics(self, server: Server) -> None:
        ask(server, "clap_text", "text_embeddings", text=strings("counted"))
        with urllib.request.urlopen(f"http://127.0.0.1:{server.ports.metrics}/metrics", timeout=10) as reply:
            text = reply.read().decode()
        assert 'nv_inference_request_success{model="clap_text",version="1"}' in text
        assert "nv_inference_queue_duration_us" in text

    def test_configurations_are_those_that_were_checked(self, server: Server) -> None:
        with grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
            reply: Any = client.get_model_config("audio_tower")
        config = reply.config
        assert config.backend == "python"
        assert config.dynamic_batching.max_queue_delay_microseconds == 0
        assert config.parameters["precision"].string_value == "fp32"

    def test_examples_of_the_guide(self, server: Server, clap: claprt.Clap, files: list[bytes], tmp_path: Path) -> None:
        """Its Python blocks that name the server of this machine, as they stand but for the ports."""
        blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
        blocks = [block for block in blocks if "localhost" in block]
        assert len(blocks) == 3
        (tmp_path / "dog.wav").write_bytes(files[1])
        namespace: dict[str, Any] = {"claprt": claprt}
        with contextlib.chdir(tmp_path):
            for block in blocks:
                moved = block.replace("localhost:8001", f"127.0.0.1:{server.ports.grpc}")
                moved = moved.replace("localhost:8000", f"127.0.0.1:{server.ports.http}")
                exec(compile(moved, "docs/triton.md", "exec"), namespace)
        namespace["client"].close()
        expected = claprt.classify(files[1], labels=["a dog barking", "rain"], model=clap).probabilities
        assert np.abs(namespace["probabilities"][0] - expected).max() < 1e-5
        assert np.abs(namespace["embeddings"][0] - clap.embed_audio(np.zeros(WINDOW, np.float32))).max() <= LIMIT
        assert namespace["served"].fingerprint == clap.fingerprint

    def test_the_command_line(self, server: Server) -> None:
        """A server's address in the place of a bundle's folder."""
        command = ["-m", "claprt", "classify", "-", "--bundle", server.grpc, "--labels", "rain", "dog"]
        done = subprocess.run(
            [sys.executable, *command], input=wav(np.zeros(4800, np.float32), RATE), capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert b"rain" in done.stdout
