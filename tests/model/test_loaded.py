"""From loading to closing: what a model gives back, what it says after that, and models in other processes."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
import shutil
import threading
import weakref
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.graphs import Stage
from claprt.engines.engine import vectors_fault
from claprt.engines.in_process import InProcessEngine
from claprt.errors import BundleNotFoundError, ClosedError, FingerprintError, OptionError, ProviderError
from claprt.model import batching
from claprt.model.clap import Clap
from claprt.model.results import mean_pool
from claprt.tasks import models
from tests.tiny import write_tiny_bundle

RATE = 48_000
SOUND = SOUNDS["rain"](RATE, RATE)


# closing


def test_closing_releases_the_sessions(bundle: Path) -> None:
    clap = claprt.load(bundle, threads=2)
    assert isinstance(clap.engine, InProcessEngine)
    clap.embed_audio(SOUND, RATE)
    clap.embed_text("rain")
    engines: list[Any] = [clap.engine, clap.engine.batch_engine()]
    engines[1].audio(np.zeros((1, 1, 1001, 64), np.float32) - 50, None)
    sessions = [weakref.ref(runner) for engine in engines for runner in engine._runners.values()]
    assert len(sessions) >= 3
    clap.close()
    gc.collect()
    assert all(session() is None for session in sessions)


def test_lazy_loading_leaves_the_audio_tower_until_it_is_used(bundle: Path) -> None:
    with claprt.load(bundle, lazy=True) as clap, claprt.load(bundle) as eager:
        engine: Any = clap.engine
        clap.embed_text("rain")
        assert list(engine._runners) == [Stage.TEXT]
        assert clap.fingerprint == eager.fingerprint
        assert np.array_equal(clap.embed_audio(SOUND, RATE), eager.embed_audio(SOUND, RATE))


def test_after_closing_every_use_says_so(bundle: Path) -> None:
    clap = claprt.load(bundle)
    clap.embed_labels(["rain"])  # kept in memory
    throughput = clap.engine.batch_engine()
    assert not clap.closed
    clap.close()
    clap.close()
    assert clap.closed
    calls: list[Any] = [
        lambda: clap.embed_audio(SOUND, RATE),
        lambda: clap.embed_audio([]),
        lambda: clap.iter_audio([SOUND], RATE),
        lambda: clap.embed_text("rain"),
        lambda: clap.embed_text([]),
        lambda: clap.embed_labels(["rain"]),
        lambda: clap.project(np.zeros(512, np.float32)),
        clap.__enter__,
        lambda: pickle.dumps(clap),
        lambda: copy.deepcopy(clap),
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="'tiny' was closed. Load it again"):
            call()
    for engine in (clap.engine, throughput):
        with pytest.raises(ClosedError, match="was closed"):
            engine.audio(np.zeros((1, 1, 1001, 64), np.float32), None)
    with pytest.raises(ClosedError):
        clap.engine.batch_engine()
    assert repr(clap) == "<Clap tiny fp32 on cpu, untrained>"  # what it was can still be asked
    assert clap.fingerprint.startswith("tiny/")


def test_a_block_closes_it_whatever_happens(bundle: Path) -> None:
    with claprt.load(bundle) as clap:
        assert clap.embed_audio(SOUND, RATE).shape == (512,)
    assert clap.closed
    with pytest.raises(KeyError), claprt.load(bundle) as other:
        raise KeyError
    assert other.closed


def test_an_iterator_that_is_under_way_ends_with_the_sentence(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PARALLEL_AFTER", 4)
    clap = claprt.load(bundle, threads=2, batch_size=2)
    before = threading.active_count()
    running = clap.iter_audio([SOUND] * 200, RATE)
    next(running)
    clap.close()
    with pytest.raises(ClosedError):
        list(running)
    assert threading.active_count() <= before


def test_a_closed_model_of_the_friendly_functions_is_loaded_again(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_loaded", {})
    models.resolve_model(bundle).close()
    assert claprt.embed(text="rain", model=bundle).dimension == 512


# copies


def test_copies(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.parent)
    clap = claprt.load(bundle.name, hop_s=5, batch_size=3, preprocess="transformers", threads=1)
    monkeypatch.chdir("/")
    clap.batch_size = 4
    expected = clap.embed_audio([SOUND] * 3, RATE)
    for twin in (copy.copy(clap), copy.deepcopy(clap), pickle.loads(pickle.dumps(clap))):
        assert twin.fingerprint == clap.fingerprint
        assert twin.batch_size == 4
        assert np.array_equal(twin.embed_audio([SOUND] * 3, RATE), expected)
    copy.deepcopy(clap).close()
    assert np.array_equal(clap.embed_audio([SOUND] * 3, RATE), expected)


@pytest.mark.parametrize("kind", ["folder", "memory", "own"])
def test_copies_begin_with_an_empty_cache_of_the_same_kind(bundle: Path, tmp_path: Path, kind: str) -> None:
    own = claprt.VectorCache(tmp_path / "own", memory_mb=1, disk_mb=5)
    cache = {"folder": tmp_path / "vectors", "memory": True, "own": own}[kind]
    clap = claprt.load(bundle, cache=cache)
    clap.embed_audio(SOUND, RATE)
    twin = pickle.loads(pickle.dumps(clap))
    assert isinstance(twin.cache, claprt.VectorCache)
    assert twin.cache is not clap.cache
    assert twin.cache.bytes_in_memory == 0
    twin.embed_audio(SOUND, RATE)
    assert twin.cache.hits == (kind != "memory")


def test_a_model_made_by_hand_says_why_not(bundle: Path) -> None:
    made = claprt.load(bundle)
    clap = Clap(made.bundle, made.engine, recipe=made.recipe, long=made.long)
    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(OptionError, match="not made by claprt.load"):
            copied(clap)
    assert np.array_equal(copy.copy(clap).embed_audio(SOUND, RATE), made.embed_audio(SOUND, RATE))


def test_another_bundle_at_the_path_is_noticed(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "model")
    pickled = pickle.dumps(claprt.load(folder))
    shutil.rmtree(folder)
    with pytest.raises(BundleNotFoundError):
        pickle.loads(pickled)
    write_tiny_bundle(folder, name="another")
    with pytest.raises(FingerprintError, match="asked for"):
        pickle.loads(pickled)


@pytest.mark.seconds
def test_other_processes(bundle: Path) -> None:
    clap = claprt.load(bundle, threads=1)
    expected = clap.embed_audio(SOUND, RATE)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert np.array_equal(pool.submit(clap.embed_audio, SOUND, RATE).result(120), expected)
        assert np.array_equal(pool.submit(_embedded, clap).result(120), expected)


def _embedded(clap: claprt.Clap) -> Any:
    return clap.embed_audio(SOUND, RATE)


@pytest.mark.seconds
def test_joblib(bundle: Path) -> None:
    joblib = pytest.importorskip("joblib", reason="needs joblib")
    clap = claprt.load(bundle, threads=1)
    expected = clap.embed_audio(SOUND, RATE)
    for found in joblib.Parallel(2)(joblib.delayed(clap.embed_audio)(SOUND, RATE) for _ in range(3)):
        assert np.array_equal(found, expected)


# what a broken tower gives


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda rows: rows * np.float32(np.nan), "NaN or infinity"),
        (lambda rows: rows * np.float32(np.inf), "NaN or infinity"),
        (lambda rows: rows[:, :5], r"float32 \[1, 5\] instead of float32 \[1, 512\]"),
        (lambda rows: rows[:0], r"float32 \[0, 512\]"),
        (lambda rows: rows.astype(np.float64), "float64"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_vector_that_is_none_is_never_given_out(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, broken: Any, words: str
) -> None:
    from claprt.engines.onnxruntime_session import OrtSession

    clap = claprt.load(bundle)
    call = OrtSession.__call__
    monkeypatch.setattr(OrtSession, "__call__", lambda self, feeds: broken(call(self, feeds)))
    calls: list[Any] = [
        lambda: clap.embed_audio(SOUND, RATE),
        lambda: list(clap.iter_audio([SOUND], RATE)),
        lambda: clap.embed_audio([SOUND], RATE, on_error="skip"),
        lambda: clap.embed_text("rain"),
        lambda: clap.embed_labels(["rain"]),
    ]
    for call_it in calls:
        with pytest.raises(ProviderError, match=words):
            call_it()
    monkeypatch.undo()
    assert np.isfinite(clap.embed_labels(["rain"])).all()  # nothing of it was kept


def test_faults_of_vectors() -> None:
    assert vectors_fault(np.eye(2, dtype=np.float32), 2, 2) is None
    assert vectors_fault(None, 1, 2) == "nothing instead of float32 [1, 2]"


def test_windows_that_cancel_have_no_mean() -> None:
    row = np.eye(1, 512, dtype=np.float32)
    with pytest.raises(ProviderError, match="2 windows cancel"):
        mean_pool(np.concatenate([row, -row]))


def test_a_connection_is_ended_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tritonclient", reason="needs tritonclient")
    from claprt.engines.triton import engine as triton

    ended: list[str] = []
    transport = SimpleNamespace(
        register=None, unregister=lambda name: None, forget_after_fork=lambda: None, close=lambda: ended.append("closed")
    )
    made = claprt.load(bundle)
    served = SimpleNamespace(manifest=made.manifest, precision="fp32", audio_precision="fp32", text_precision="fp32")
    served.max_batch, served.max_texts = {"audio_tower": 8, "text_tower": 8}, 8
    monkeypatch.setattr(triton, "connect", lambda *_: transport)
    monkeypatch.setattr(triton.TritonEngine, "_read", lambda self: served)
    server = triton.TritonEngine("triton://localhost:8001")
    clap = Clap(made.bundle, server, recipe=made.recipe, long=made.long, tokenizer=server)
    with clap:
        assert clap.provider == "triton"
    clap.close()
    assert ended == ["closed"]
    with pytest.raises(ClosedError, match="was closed"):
        clap.embed_text("rain")
    for call in (
        lambda: server.encode(["rain"]),
        lambda: server.audio(np.zeros((1, 1, 1001, 64), np.float32), None),
        lambda: server.text(np.ones((1, 3), np.int64), np.ones((1, 3), np.int64)),
    ):
        with pytest.raises(ClosedError, match="localhost:8001 was closed. Connect again"):
            call()
