"""Threads of claprt-native: the same bits whoever computes them, whatever happens to a thread meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from claprt.arrays import Array
from claprt.engines.native.library import aligned, native_library
from tests.engines.packed_tower import JOINT, log_mels, opened, packed_tower, vectors

pytest.importorskip("claprt_native", reason="needs claprt-native: the native extra")

needs_vnni = pytest.mark.skipif("avx512_vnni" not in native_library().sets, reason="needs a processor with AVX-512 VNNI")


@pytest.fixture(scope="module")
def packed() -> Array:
    return aligned(packed_tower())


@pytest.fixture(scope="module")
def fused() -> Array:
    return aligned(packed_tower(fused=True, depths=(1, 1, 1, 1)))


@pytest.mark.parametrize("threads", [2, 3, 7, 16, 64])
def test_threads_and_neighbours_change_nothing(packed: Array, threads: int) -> None:
    """More threads than cores lose their core in the middle of tasks, which others then do again."""
    mels = log_mels(3)
    alone = np.concatenate([vectors(packed, mels[index : index + 1]) for index in range(3)])
    with opened(packed, threads) as handle:
        for _ in range(5):
            assert np.array_equal(native_library().run(handle, mels, None, JOINT), alone)


def test_a_fused_towers_helpers_do_not_mix_up_sounds(fused: Array) -> None:
    mels, longer = log_mels(8, views=4), np.array([[True], [False]] * 4)
    alone = vectors(fused, mels, longer)
    with opened(fused, 16) as handle:
        for _ in range(4):
            assert np.array_equal(native_library().run(handle, mels, longer, JOINT), alone)


def test_several_callers(packed: Array) -> None:
    mels = log_mels(6)
    expected = vectors(packed, mels)
    with opened(packed, 2) as handle, ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            jobs = [pool.submit(native_library().run, handle, mels[i : i + 1], None, JOINT) for i in range(6)]
            assert np.array_equal(np.concatenate([job.result() for job in jobs]), expected)


OFF_ITS_CORE = """
import ctypes, signal, threading, time
from claprt.engines.native.library import aligned, native_library
from tests.engines.packed_tower import JOINT, log_mels, packed_tower
libc = ctypes.CDLL(None)
libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.signal(signal.SIGHUP, ctypes.cast(libc.sleep, ctypes.c_void_p))  # of as many seconds as the number of the signal, 1
library, mels = native_library(), log_mels(1)
tower = aligned(packed_tower(dim=128, heads=4, depths=(2, 2, 12, 2)))
one, two = (library.open_tower(tower, threads) for threads in (1, 2))
for _ in range(2):  # the first one maps memory
    began = time.process_time()
    expected = library.run(one, mels, None, JOINT)
    took = time.process_time() - began
found, most = [], 0
for _ in range(4):  # a caller that was stopped while it copied is waited for
    caller = threading.Thread(target=lambda: found.append(library.run(two, mels, None, JOINT)))
    caller.start()
    time.sleep(took / 10)
    signal.pthread_kill(caller.ident, signal.SIGHUP)
    began = time.process_time()
    time.sleep(0.6)
    most = max(most, time.process_time() - began)
    caller.join()
    if most > took / 2:
        break
print(all((vector == expected).all() for vector in found), most / took)
"""


@needs_vnni
@pytest.mark.skipif(sys.platform != "linux", reason="stops a thread by its signal")
@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: ())(0)) < 2, reason="needs two cores")
def test_a_caller_that_is_off_its_core_holds_up_nobody() -> None:
    """Helpers do what it has begun and go on to the end of the run."""
    run = subprocess.run([sys.executable, "-c", OFF_ITS_CORE], capture_output=True, text=True, check=True)
    equal, share = run.stdout.split()
    assert equal == "True"
    assert float(share) > 0.5  # of the run's processor time; 0.05 where helpers wait for the caller


def test_the_callers_arithmetic_is_left_as_it_was(packed: Array) -> None:
    tiny = np.float32(1e-39)
    vectors(packed, log_mels(1))
    assert tiny * np.float32(1) == tiny  # denormal numbers still count in this thread


def test_the_caller_is_not_pinned(packed: Array) -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("needs sched_getaffinity")
    before = os.sched_getaffinity(0)
    with opened(packed, 4) as handle:
        native_library().run(handle, log_mels(2), None, JOINT)
        assert os.sched_getaffinity(0) == before


PINNED = """
import os, threading, time
from claprt.engines.native.library import aligned, native_library
from tests.engines.packed_tower import JOINT, log_mels, packed_tower
library, tower, mels = native_library(), aligned(packed_tower()), log_mels(1)
alone, two = (library.open_tower(tower, threads) for threads in (1, 2))
expected = library.run(alone, mels, None, JOINT)
library.run(two, mels, None, JOINT)
os.sched_setaffinity(threading.get_native_id(), {min(os.sched_getaffinity(0))})
time.sleep(0.01)  # helpers are asleep
own, everybody, equal = -time.thread_time(), -time.process_time(), True
for _ in range(60):
    equal &= (library.run(two, mels, None, JOINT) == expected).all()
print(bool(equal), (everybody + time.process_time()) / (own + time.thread_time()))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_a_caller_with_one_core_works_alone() -> None:
    """Also where it was given one only after the tower was opened: a helper would take turns with it on that core."""
    run = subprocess.run([sys.executable, "-c", PINNED], capture_output=True, text=True, check=True)
    equal, share = run.stdout.split()
    assert equal == "True"
    assert float(share) < 1.4  # of processor time, with what else the process does; 1.7 and more with a helper


def _child(content: bytes, mels: Array, expected: Array) -> None:
    with opened(aligned(content), 2) as handle:
        same = np.array_equal(native_library().run(handle, mels, None, JOINT), expected)
    os._exit(0 if same else 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_fork_while_another_thread_computes(packed: Array) -> None:
    mels = log_mels(1)
    content, expected, stop = packed.tobytes(), vectors(packed, mels), threading.Event()
    with opened(packed, 2) as handle:

        def compute() -> None:
            while not stop.is_set():
                native_library().run(handle, mels, None, JOINT)

        thread = threading.Thread(target=compute)
        thread.start()
        try:
            for _ in range(3):
                child = multiprocessing.get_context("fork").Process(target=_child, args=(content, mels, expected))
                child.start()
                child.join(60)
                assert child.exitcode == 0
        finally:
            stop.set()
            thread.join()
