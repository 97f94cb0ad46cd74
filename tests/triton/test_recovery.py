"""What happens to clients when a step, the server, or what it serves goes away."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc

import claprt
from claprt.bundle.folder import read_bundle
from claprt.errors import FingerprintError, OptionError, ServerError, ServerUnavailableError
from claprt.triton import TritonEngine
from claprt.triton.probe import main as probe_main
from claprt.triton.probe import probe
from claprt.triton.repository.builder import Build, build
from tests.tiny import write_tiny_bundle
from tests.triton.asking import Array
from tests.triton.server import Server

LIMIT = 1e-6


@pytest.fixture(scope="module")
def harmed(repository: Path, tmp_path_factory: pytest.TempPathFactory, needs_server: None) -> Iterator[Server]:
    with Server(repository, tmp_path_factory.mktemp("harmed") / "triton.log") as running:
        yield running


@pytest.fixture
def own(harmed: Server) -> Server:
    """A server that tests may harm if it serves again afterwards."""
    if harmed.process is None or harmed.process.poll() is not None:
        harmed.start().wait()
    return harmed


def mels(seed: int) -> Array:
    return np.random.default_rng(seed).normal(-30, 10, (1, 1, 1001, 64)).astype(np.float32)


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_killed_step_is_survived(own: Server, clap: claprt.Clap, shared_memory: bool) -> None:
    with TritonEngine(own.grpc, shared_memory=shared_memory) as engine:
        assert np.abs(engine.audio(mels(0), None) - clap.engine.audio(mels(0), None)).max() <= LIMIT
        assert probe(own.grpc) > 0
        os.kill(own.step("audio_tower"), signal.SIGKILL)
        with pytest.raises(ServerError, match="not healthy|could not be reached|does not answer"):
            probe(own.grpc)
        for seed in range(3):  # what watches over the server has started it again, since it would not do it itself
            assert np.abs(engine.audio(mels(seed), None) - clap.engine.audio(mels(seed), None)).max() <= LIMIT


def test_the_probe_as_a_command(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe_main([server.grpc]) == 0
    assert probe_main([server.http]) == 0
    assert "every model answered" in capsys.readouterr().out
    assert probe_main(["triton://127.0.0.1:1"]) == 1
    assert "could not be reached" in capsys.readouterr().err


def test_a_crashed_server_is_started_again(own: Server, clap: claprt.Clap) -> None:
    with TritonEngine(own.grpc) as engine:
        crashed = own.pid
        os.kill(crashed, signal.SIGSEGV)
        until = time.monotonic() + 20
        while Path(f"/proc/{crashed}").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        assert np.abs(engine.audio(mels(0), None) - clap.engine.audio(mels(0), None)).max() <= LIMIT


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_killed_server_is_survived_in_the_middle_of_work(own: Server, clap: claprt.Clap, protocol: str) -> None:
    """Every call is answered, and rightly, although the server is gone for a while."""
    expected = {seed: clap.engine.audio(mels(seed), None) for seed in range(4)}
    wrong: list[float] = []
    answered: list[int] = []
    stop = threading.Event()

    def work(engine: TritonEngine) -> None:
        while not stop.is_set():
            for seed, vector in expected.items():
                difference = float(np.abs(engine.audio(mels(seed), None) - vector).max())
                answered.append(seed)
                if difference > LIMIT:
                    wrong.append(difference)

    with TritonEngine(getattr(own, protocol), retry_for_s=60) as engine:
        threads = [threading.Thread(target=work, args=(engine,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        own.kill()
        before = len(answered)
        own.start().wait()
        until = time.monotonic() + 30
        while len(answered) <= before + 10 and time.monotonic() < until:
            time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    assert before > 10
    assert len(answered) > before + 10


def test_a_server_that_comes_back_with_another_bundle_is_refused(
    repository: Path, tmp_path: Path, needs_server: None
) -> None:
    """Also where nothing was asked in between, and the connection was made anew without a word."""
    other = write_tiny_bundle(tmp_path / "other", name="other")
    with Server(repository, tmp_path / "triton.log") as server, ExitStack() as stack:
        engines = [
            stack.enter_context(TritonEngine(getattr(server, protocol), shared_memory=shared_memory))
            for protocol, shared_memory in (("grpc", True), ("grpc", False), ("http", False))
        ]
        for engine in engines:
            engine.audio(mels(0), None)
        server.kill()
        server.repository = build(Build(bundle=read_bundle(other)), tmp_path / "repository")
        server.start().wait()
        for engine in engines:
            with pytest.raises(ServerError, match="served tiny in fp32, version 1, and now serves other"):
                engine.audio(mels(0), None)


def test_models_are_loaded_and_unloaded(repository: Path, tmp_path: Path, clap: claprt.Clap, needs_server: None) -> None:
    """Explicit control: an unloaded tower is waited for, and one of another version is not taken for it."""
    build(Build(bundle=read_bundle(clap.bundle.path)), tmp_path / "repository")
    arguments = ("--control", "explicit", "--load", "audio_tower", "text_tower", "tokenizer")
    with Server(tmp_path / "repository", tmp_path / "triton.log", *arguments) as own:
        address = f"127.0.0.1:{own.ports.grpc}"
        with grpc.InferenceServerClient(address) as client, TritonEngine(own.grpc, retry_for_s=20) as engine:
            assert not client.is_model_ready("clap_audio")
            engine.audio(mels(0), None)
            client.unload_model("audio_tower")
            while client.is_model_ready("audio_tower"):
                time.sleep(0.05)
            threading.Timer(0.5, client.load_model, ("audio_tower",)).start()
            assert np.abs(engine.audio(mels(1), None) - clap.engine.audio(mels(1), None)).max() <= LIMIT
            build(Build(bundle=read_bundle(clap.bundle.path), version=2), tmp_path / "repository")
            client.load_model("audio_tower")
            assert client.is_model_ready("audio_tower", "2")
            while client.is_model_ready("audio_tower", "1"):
                time.sleep(0.05)
            with pytest.raises(ServerError, match="version 1, and now serves tiny in fp32, version 2"):
                engine.audio(mels(2), None)


def test_fused(fused_bundle: Path, fused_clap: claprt.Clap, tmp_path: Path, needs_server: None) -> None:
    """Four views of long clips as in process, through the ensemble and through the engine."""
    from tests.triton.asking import ask, strings, wav

    repository = build(Build(bundle=read_bundle(fused_bundle)), tmp_path / "repository")
    short, long = (np.random.default_rng(n).normal(0, 0.1, n).astype(np.float32) for n in (90_000, 1_500_000))
    files = [wav(short, 48_000), wav(long, 48_000)]
    expected = fused_clap.embed_audio(files)
    with Server(repository, tmp_path / "triton.log") as own:
        found = ask(own, "clap_audio_file", "audio_embeddings", audio=strings(*files))["audio_embeddings"]
        assert np.abs(found - expected).max() <= LIMIT
        served = claprt.load(own.grpc)
        assert np.abs(served.embed_audio(files) - expected).max() <= LIMIT
        window = np.resize(short, 480_000)
        one = ask(own, "clap_audio", "audio_embeddings", waveforms=window[None])
        assert np.abs(one["audio_embeddings"][0] - fused_clap.embed_audio(window)).max() <= LIMIT
        assert probe(own.grpc) > 0


def test_nobody_there() -> None:
    started = time.monotonic()
    with pytest.raises(ServerUnavailableError, match="could not be reached for 1 s"):
        TritonEngine("triton://127.0.0.1:1", retry_for_s=1)
    with pytest.raises(ConnectionError):
        claprt.load("triton+http://127.0.0.1:1", server={"retry_for_s": 0.1})
    assert time.monotonic() - started < 10


def test_what_load_is_asked_for_must_be_what_is_served(server: Server, clap: claprt.Clap) -> None:
    assert claprt.load(server.grpc, precision="fp32", fingerprint=clap.fingerprint).fingerprint == clap.fingerprint
    with pytest.raises(FingerprintError, match="were asked for"):
        claprt.load(server.grpc, fingerprint="music/laion/windows-10s/fp32/0123456789ab")
    with pytest.raises(OptionError, match="serves fp32"):
        claprt.load(server.grpc, precision="int8")
    with pytest.raises(OptionError, match="threads is the server's own"):
        claprt.load(server.grpc, threads=2)
    with pytest.raises(OptionError, match="no option colour"):
        claprt.load(server.grpc, server={"colour": "red"})
    with pytest.raises(OptionError, match="for the address of a server"):
        claprt.load(clap.bundle.path, server={"timeout_s": 1})


def test_a_request_that_takes_too_long(server: Server) -> None:
    with TritonEngine(server.grpc, timeout_s=10, shared_memory=True) as engine:
        transport: Any = vars(engine)["_transport"]
        transport._timeout_s = 1e-4
        with pytest.raises(ServerUnavailableError, match="no answer within"):
            engine.audio(np.repeat(mels(0), 64, axis=0), None)
        transport._timeout_s = 10
        assert abs(np.linalg.norm(engine.audio(mels(0), None)) - 1) < 1e-5


def test_shared_memory_is_given_back(server: Server) -> None:
    def mine() -> set[str]:
        return {path.name for path in Path("/dev/shm").glob("psm_*")}

    def known() -> set[str]:
        with grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
            status = client.get_system_shared_memory_status()
            assert status is not None
            return set(status.regions)

    before, known_before = mine(), known()
    with TritonEngine(server.grpc, shared_memory=True) as engine:
        engine.audio(mels(0), None)
        created, told = mine() - before, known() - known_before
        assert created
        assert told
    assert not mine() & created
    assert not known() & told
