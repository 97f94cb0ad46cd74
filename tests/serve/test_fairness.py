"""Who comes next: readers, the text tower and the audio tower among many clients, and what each may hold."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.audio.features import AudioFeatures
from claprt.audio.resample import KaiserResampler, Samples
from claprt.errors import AudioShapeError, ClaprtError, ProviderError
from claprt.serve.app import create_app
from claprt.serve.errors import ServiceFault, ShuttingDownError
from claprt.serve.limits import Limits
from claprt.serve.scheduling.audio_input import AudioInput
from claprt.serve.scheduling.batcher import Batcher
from claprt.serve.scheduling.fair_queue import Client, set_current_client
from claprt.serve.scheduling.readers import _LEVELS, CONCURRENCY, Readers, ReadTask  # pyright: ignore[reportPrivateUsage]
from claprt.serve.scheduling.threads import Threads
from tests.serve.test_batcher import SOUND, Tower, embed, read, until


class Panic(BaseException):
    """What a library in Rust raises, which is no `Exception`."""


@pytest.fixture
def clap(bundle: Path) -> claprt.Clap:
    """A model of the test's own, whose engine it may alter."""
    return claprt.load(bundle, preprocess="kromosynth")


def flac(seconds: float, rate: int = 44_101) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(int(seconds * rate), np.float32), rate, format="FLAC")
    return file.getvalue()


@pytest.fixture(scope="module")
def long() -> bytes:
    """Five minutes, which take seconds to read."""
    return flac(300)


def with_batcher(clap: claprt.Clap, work: Callable[[Batcher], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        batcher = Batcher(clap, Threads(), Limits())
        try:
            return await work(batcher)
        finally:
            await asyncio.to_thread(batcher.close)

    return asyncio.run(run())


@pytest.mark.timing
def test_a_short_sound_passes_long_ones(clap: claprt.Clap, long: bytes) -> None:
    async def work(batcher: Batcher) -> Any:
        many = [asyncio.ensure_future(batcher.embed(AudioInput(long))) for _ in range(6)]
        await asyncio.sleep(0.5)
        began = time.perf_counter()
        await embed(batcher, SOUND)
        took = time.perf_counter() - began
        ended = [task.done() for task in many]
        for task in many:
            task.cancel()
        await asyncio.wait(many)
        return took, ended

    took, ended = with_batcher(clap, work)
    assert not any(ended)
    assert took < 2


def test_long_sounds_have_the_vectors_that_they_have_in_process(clap: claprt.Clap) -> None:
    """Read in slices, begun again where there is no room, and run in batches of several clients."""
    draw = np.random.default_rng(0)
    sounds = [draw.uniform(-0.5, 0.5, 16_000 * seconds).astype(np.float32) for seconds in (45, 25, 3, 62, 31, 38)] * 2
    expected = [clap.embed_audio(sound, 16_000) for sound in sounds[:6]] * 2

    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(*(embed(batcher, sound, 16_000) for sound in sounds))

    for sound, vector in zip(with_batcher(clap, work), expected, strict=True):
        assert np.abs(sound.vector - vector).max() < 1e-6


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize("how", ["long alone", "beside others"])
def test_a_sound_that_has_been_begun_is_given_up(clap: claprt.Clap, how: str) -> None:
    content = io.BytesIO()
    soundfile.write(
        content, np.random.default_rng(0).normal(0, 0.1, 300 * 44_101).astype(np.float32), 44_101, format="FLAC"
    )
    files = [Counted(content.getvalue()) for _ in range(1 if how == "long alone" else 8)]

    async def work(batcher: Batcher) -> Any:
        asked = [asyncio.ensure_future(batcher.embed(AudioInput(file))) for file in files]
        await until(lambda: files[0].reads > 20)
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)
        await asyncio.sleep(0.3)
        reads = [file.reads for file in files]
        await asyncio.sleep(0.3)
        return reads, [file.reads for file in files]

    at_once, later = with_batcher(clap, work)
    assert at_once == later


def test_what_is_too_long_is_refused_before_it_is_resampled(clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five hours: half a minute of them, at most, is."""
    made: list[int] = []

    class Resampler(KaiserResampler):
        def __call__(self, block: Samples, *, last: bool) -> Samples:
            made.append(block.size)
            return super().__call__(block, last=last)

    monkeypatch.setattr("claprt.audio.preprocess.KaiserResampler", Resampler)
    file = io.BytesIO(flac(5 * 3600, 1_000))
    with pytest.raises(AudioShapeError):
        read(clap, AudioInput(file), Limits())
    assert sum(made) <= 31_000


class TestBlocksOfStreams:
    def test_they_give_way(self, clap: claprt.Clap) -> None:
        """Blocks that go on and on keep all readers busy, and a sound is read all the same."""
        begun, ended = threading.Barrier(CONCURRENCY + 1), threading.Event()

        def steps() -> Iterator[AudioFeatures | None]:
            begun.wait(20)
            while not ended.is_set():
                sum(range(20_000))
                yield None

        async def work(batcher: Batcher) -> Any:
            streams = [asyncio.ensure_future(batcher.embed_features(steps())) for _ in range(CONCURRENCY)]
            await asyncio.to_thread(begun.wait, 20)
            try:
                sound = await asyncio.wait_for(embed(batcher, SOUND), 20)
            finally:
                ended.set()
            return sound, await asyncio.gather(*streams)

        sound, streams = with_batcher(clap, work)
        assert sound.vector is not None
        assert streams == [[]] * CONCURRENCY

    def test_one_that_finds_no_place_goes_on_later(self, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two begin together, and there is one place for long ones: nothing is lost, and nothing computed again."""
        short, *longer = _LEVELS
        levels = (replace(short, budget_s=0.0), *(replace(level, places=1) for level in longer))
        monkeypatch.setattr("claprt.serve.scheduling.readers._LEVELS", levels)
        (view,) = read(clap, AudioInput(SOUND), Limits())
        begun, put_back, made = threading.Barrier(2), threading.Event(), list[int]()
        promote = Readers._promote  # pyright: ignore[reportPrivateUsage]

        def promoted(readers: Readers, task: ReadTask) -> None:
            try:
                promote(readers, task)
            except BaseException:
                put_back.set()
                raise

        monkeypatch.setattr(Readers, "_promote", promoted)

        def steps() -> Iterator[AudioFeatures | None]:
            for second, wait in enumerate((begun.wait, put_back.wait, put_back.wait)):
                assert wait(20) is not False
                made.append(second)
                yield replace(view, start_s=float(second))

        async def work(batcher: Batcher) -> Any:
            return await asyncio.gather(*(batcher.embed_features(steps()) for _ in range(2)))

        for windows in with_batcher(clap, work):
            assert [start_s for start_s, _ in windows] == [0, 1, 2]
            assert np.abs(np.stack([vector for _, vector in windows]) - clap.embed_audio(SOUND)).max() < 1e-6
        assert sorted(made) == [0, 0, 1, 1, 2, 2]


class SlowTexts:
    """Stands before the text tower of a model: 32 texts take so many seconds, and runs are counted."""

    def __init__(self, clap: claprt.Clap, seconds: float) -> None:
        self.batches: list[int] = []
        self._through, self._seconds = clap.engine.text, seconds
        clap.engine.text = self._text  # pyright: ignore[reportAttributeAccessIssue]

    def _text(self, token_ids: Any, mask: Any) -> Any:
        self.batches.append(len(token_ids))
        time.sleep(self._seconds * len(token_ids) / 32)
        return self._through(token_ids, mask)


TEXTS = [f"the sound of thing {number}" for number in range(640)]


class TestTexts:
    @pytest.mark.timing
    def test_a_list_does_not_hold_up_others(self, clap: claprt.Clap) -> None:
        SlowTexts(clap, 0.05)

        async def work(batcher: Batcher) -> Any:
            many = asyncio.ensure_future(batcher.embed_texts(TEXTS))
            await asyncio.sleep(0.15)
            began = time.perf_counter()
            await batcher.embed_texts(["a dog"])
            took = time.perf_counter() - began
            return took, many.done(), await many

        took, ended, rows = with_batcher(clap, work)
        assert not ended
        assert took < 0.5
        assert np.abs(rows - clap.embed_text(TEXTS)).max() < 1e-6  # other texts share its batches

    def test_it_is_given_up(self, clap: claprt.Clap) -> None:
        slow = SlowTexts(clap, 0.05)

        async def work(batcher: Batcher) -> None:
            many = asyncio.ensure_future(batcher.embed_texts(TEXTS))
            await until(lambda: len(slow.batches) > 1)
            many.cancel()
            await asyncio.wait([many])

        with_batcher(clap, work)
        assert len(slow.batches) < 6
        assert max(slow.batches) <= 32

    def test_batches_take_about_as_long_as_they_should(self, clap: claprt.Clap) -> None:
        slow = SlowTexts(clap, 3.2)
        with_batcher(clap, lambda batcher: batcher.embed_texts(TEXTS[:6]))
        assert slow.batches == [1] * 6

    @pytest.mark.parametrize("fault", [Panic("rust"), MemoryError(), ProviderError("the GPU is gone")])
    def test_a_tokenizer_that_panics_is_a_fault_of_the_service(
        self, clap: claprt.Clap, fault: BaseException, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with TestClient(create_app(clap)) as client:
            with monkeypatch.context() as patched:

                def encode(_: Sequence[str]) -> Any:
                    raise fault

                patched.setattr(clap.tokenizer, "encode", encode)
                reply = client.post("/v1/embeddings", json={"input": "rain"})
                assert reply.status_code == 500, reply.text
            assert client.post("/v1/embeddings", json={"input": "rain"}).status_code == 200


class TestTower:
    def test_runs_are_short_where_windows_take_long(self, clap: claprt.Clap) -> None:
        tower, slow = Tower(clap), clap.engine.audio

        def audio(log_mels: Any, is_longer: Any) -> Any:
            time.sleep(0.05 * len(log_mels))
            return slow(log_mels, is_longer)

        clap.engine.audio = audio  # pyright: ignore[reportAttributeAccessIssue]

        async def work(batcher: Batcher) -> Any:
            return await asyncio.gather(*(embed(batcher, SOUND) for _ in range(12)))

        assert len(with_batcher(clap, work)) == 12
        assert max(tower.windows) == 2

    def test_a_client_that_asks_for_little_is_run_before_others(self, clap: claprt.Clap) -> None:
        order: list[str] = []
        tower = Tower(clap)

        async def work(batcher: Batcher) -> Any:
            async def ask(name: str, client: Client, sound: Any) -> None:
                set_current_client(client)
                await embed(batcher, sound)
                order.append(name)

            greedy, modest = Client(), Client()
            await ask("modest", modest, SOUND)
            await asyncio.gather(*(ask("greedy", greedy, SOUND) for _ in range(30)))
            order.clear()
            tower.open.clear()
            before = tower.asked
            asked = [asyncio.ensure_future(ask("greedy", greedy, SOUND))]
            await until(lambda: tower.asked > before)
            asked += [asyncio.ensure_future(ask("greedy", greedy, SOUND)) for _ in range(12)]
            await until(lambda: batcher.queued_windows == 12)
            asked.append(asyncio.ensure_future(ask("modest", modest, SOUND)))
            await until(lambda: batcher.queued_windows == 13)
            tower.open.set()
            await asyncio.gather(*asked)

        with_batcher(clap, work)
        assert order.index("modest") <= 2

    @pytest.mark.parametrize("wrong", ["nan", "length"])
    def test_what_is_no_vector_is_not_served(self, clap: claprt.Clap, wrong: str) -> None:
        right = clap.engine.audio

        def audio(log_mels: Any, is_longer: Any) -> Any:
            vectors = right(log_mels, is_longer)
            return vectors[:, :-1] if wrong == "length" else np.full_like(vectors, np.nan)

        with TestClient(create_app(clap)) as client:
            clap.engine.audio = audio  # pyright: ignore[reportAttributeAccessIssue]
            clap.engine.batch_engine = lambda: clap.engine  # pyright: ignore[reportAttributeAccessIssue]
            reply = client.post("/classify", files={"file": flac(1.0, 16_000)}, data={"labels": "rain"})
            assert reply.status_code == 500, reply.text
            assert client.get("/readyz").status_code == 503
            clap.engine.audio = right  # pyright: ignore[reportAttributeAccessIssue]
            assert client.get("/readyz").status_code == 200
            reply = client.post("/classify", files={"file": flac(1.0, 16_000)}, data={"labels": "rain"})
            assert reply.status_code == 200

    def test_a_panic_reaches_whoever_waits(self, clap: claprt.Clap) -> None:
        tower = Tower(clap)
        tower.fault = Panic("rust")

        async def work(batcher: Batcher) -> Any:
            found = await asyncio.gather(embed(batcher, SOUND), return_exceptions=True)
            tower.fault = None
            return found[0], await embed(batcher, SOUND)

        error, sound = with_batcher(clap, work)
        assert isinstance(error, ServiceFault)
        assert sound.vector is not None


def test_work_beside_the_loop_that_panics(clap: claprt.Clap) -> None:
    def panics() -> None:
        raise Panic("rust")

    async def work(batcher: Batcher) -> Any:
        with pytest.raises(ServiceFault):
            await batcher.threads.run(panics)
        return await batcher.threads.run(lambda: 3)

    assert with_batcher(clap, work) == 3


@pytest.mark.timing
def test_what_is_not_answered_in_time_is_refused(clap: claprt.Clap, long: bytes) -> None:
    """A list of texts, a sound that is read and one that waits: 503, and the application ends soon."""
    SlowTexts(clap, 0.2)
    app = create_app(clap)
    replies: list[int] = []
    with TestClient(app) as client:
        assert client.portal is not None

        def post(path: str, **what: Any) -> None:
            replies.append(client.post(path, **what).status_code)

        texts = threading.Thread(target=post, args=["/v1/embeddings"], kwargs={"json": {"input": TEXTS}})
        sound = threading.Thread(
            target=post, args=["/classify"], kwargs={"files": {"file": long * 1}, "data": {"labels": "rain"}}
        )
        texts.start()
        sound.start()
        client.portal.call(until, lambda: app.state.service.admission.waiting == 2)
        began = time.perf_counter()
        assert client.portal.call(app.state.service.drain, 0.3) == 2
        texts.join(10)
        sound.join(10)
        assert time.perf_counter() - began < 5
    assert replies == [503, 503]
    assert time.perf_counter() - began < 8


def test_giving_up_is_told_as_it_is(clap: claprt.Clap) -> None:
    tower = Tower(clap)
    tower.open.clear()

    async def work(batcher: Batcher) -> Any:
        asked = [asyncio.ensure_future(embed(batcher, SOUND)) for _ in range(3)]
        await until(lambda: tower.asked)
        batcher.threads.give_up(ShuttingDownError())
        found = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
        tower.open.set()
        return found

    found: list[ClaprtError] = with_batcher(clap, work)
    assert [type(error) for error in found] == [ShuttingDownError] * 3
