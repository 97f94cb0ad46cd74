"""The store of vectors, in memory and on disk."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from claprt.errors import CacheWarning, OptionError
from claprt.model import embedding_cache, vector_cache_file
from claprt.model.embedding_cache import EmbeddingCache
from claprt.model.results import EmbeddedSound
from claprt.model.vector_cache import VectorCache
from claprt.model.vector_cache_file import VectorFile

RATE = 48_000


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


class TestStore:
    def test_what_was_put_is_found(self, tmp_path: Path) -> None:
        for cache in (VectorCache(), VectorCache(tmp_path / "new" / "folder")):
            assert cache.get(key(1)) is None
            cache.put(key(1), b"one")
            cache.put(key(1), b"uno")
            assert cache.get(key(1)) == b"uno"
            assert (cache.hits, cache.misses) == (1, 1)
            assert "1 hits, 1 misses" in repr(cache)

    def test_memory_is_bounded_and_the_longest_unused_go_first(self) -> None:
        cache = VectorCache(memory_mb=0.01)  # 10 000 bytes: eight entries of 1000 and what they cost beside
        for number in range(8):
            cache.put(key(number), bytes(1000))
        assert cache.get(key(0)) is not None
        cache.put(key(9), bytes(1000))
        assert cache.get(key(1)) is None
        assert cache.get(key(0)) is not None
        assert cache.bytes_in_memory <= 10_000
        cache.put(key(10), bytes(20_000))  # larger than all of it
        assert cache.get(key(10)) is None
        assert cache.bytes_in_memory == 0

    def test_disk_outlives_the_process(self, tmp_path: Path) -> None:
        program = (
            f"from claprt.model.vector_cache import VectorCache; VectorCache({str(tmp_path)!r}).put(bytes(32), b'there')"
        )
        subprocess.run([sys.executable, "-c", program], check=True)
        assert VectorCache(tmp_path).get(bytes(32)) == b"there"

    def test_disk_is_bounded(self, tmp_path: Path) -> None:
        cache = VectorCache(tmp_path, memory_mb=0.001, disk_mb=0.1)
        for number in range(400):
            cache.put(key(number), bytes(1000))
        with sqlite3.connect(next(tmp_path.glob("*.sqlite"))) as database:
            (entries,) = database.execute("SELECT COUNT(*) FROM vectors").fetchone()
        database.close()
        assert entries <= 100 + 64
        assert cache.get(key(399)) is not None

    @pytest.mark.seconds
    def test_several_processes_write_at_one_time(self, tmp_path: Path) -> None:
        program = """
import sys
from claprt.model.vector_cache import VectorCache
cache = VectorCache(sys.argv[1])
for number in range(200):
    cache.put(bytes([int(sys.argv[2])]) + number.to_bytes(31, "big"), sys.argv[2].encode() * 10)
"""
        workers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(n)]) for n in range(2)]
        assert [worker.wait(60) for worker in workers] == [0, 0]
        cache = VectorCache(tmp_path)
        for n in range(2):
            for number in range(200):
                assert cache.get(bytes([n]) + number.to_bytes(31, "big")) == str(n).encode() * 10

    def test_several_threads(self, tmp_path: Path) -> None:
        cache = VectorCache(tmp_path, memory_mb=0.001)
        wrong: list[int] = []

        def work(first: int) -> None:
            for number in range(first, first + 50):
                cache.put(key(number), str(number).encode())
                if cache.get(key(number)) != str(number).encode():
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(50 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    @pytest.mark.seconds
    def test_a_killed_writer_leaves_it_whole(self, tmp_path: Path) -> None:
        program = """
import sys
from claprt.model.vector_cache import VectorCache
cache = VectorCache(sys.argv[1])
number = 0
while True:
    cache.put(number.to_bytes(32, "big"), number.to_bytes(4, "big") * 500)
    if number == 100:
        print("going", flush=True)
    number += 1
"""
        worker = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"going\n"
        worker.kill()
        worker.communicate()
        cache = VectorCache(tmp_path)
        for number in range(100):
            assert cache.get(key(number)) in (number.to_bytes(4, "big") * 500, None)
        cache.put(key(0), b"new")
        assert VectorCache(tmp_path).get(key(0)) == b"new"

    @pytest.mark.parametrize(
        "content", [b"no database at all, but long enough to be taken for one" * 40, b"SQLite format 3\0" + bytes(200)]
    )
    def test_a_damaged_file_is_set_aside(self, tmp_path: Path, content: bytes) -> None:
        VectorCache(tmp_path).put(key(1), b"one")
        file = next(tmp_path.glob("*.sqlite"))
        for path in tmp_path.iterdir():
            path.unlink()
        file.write_bytes(content)
        cache = VectorCache(tmp_path)
        assert cache.get(key(1)) is None
        cache.put(key(1), b"uno")
        assert VectorCache(tmp_path).get(key(1)) == b"uno"

    def test_damaged_while_in_use(self, tmp_path: Path) -> None:
        cache = VectorCache(tmp_path, memory_mb=1e-6)
        cache.put(key(1), b"one")
        for path in tmp_path.iterdir():
            path.write_bytes(os.urandom(4096))
        fresh = VectorCache(tmp_path)  # set aside
        fresh.put(key(2), b"two")
        assert fresh.get(key(2)) == b"two"
        assert cache.get(key(3)) is None  # nothing is raised into whoever only wanted a vector
        cache.put(key(3), b"three")

    def test_refusals(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(OptionError, match="cannot be used"):
            VectorCache(tmp_path / "file")
        with pytest.raises(OptionError, match="more than 0"):
            VectorCache(memory_mb=0)
        with pytest.raises(OptionError, match="more than 0"):
            VectorCache(disk_mb=float("nan"))

    @pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write everywhere")
    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(OptionError, match="cannot be used"):
            VectorCache(tmp_path)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_child_has_a_connection_of_its_own(self, tmp_path: Path) -> None:
        cache = VectorCache(tmp_path, memory_mb=1e-6)
        cache.put(key(1), b"one")
        child = os.fork()
        if child == 0:
            cache.put(key(2), b"two")
            os._exit(0 if cache.get(key(1)) == b"one" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert cache.get(key(2)) == b"two"
        assert cache.get(key(1)) == b"one"


def value(number: int) -> bytes:
    return random.Random(number).randbytes(2060 if number % 3 else 4112)


def end(cache: VectorCache) -> None:
    """Closes this thread's connection, which writes everything into the one file."""
    disk = cache._disk  # pyright: ignore[reportPrivateUsage]
    assert disk is not None
    disk._disconnect()  # pyright: ignore[reportPrivateUsage]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a cache with forty values."""
    folder = tmp_path_factory.mktemp("written")
    cache = VectorCache(folder)
    for number in range(40):
        cache.put(key(number), value(number))
    end(cache)
    (file,) = folder.iterdir()
    return file.read_bytes()


def rotten(content: bytes, way: int, random: random.Random) -> bytes:
    """A file as a failing disk or memory leaves it."""
    rotten = bytearray(content)
    place, page = random.randrange(len(rotten)), 4096 * random.randrange(len(rotten) // 4096)
    if way == 0:
        for _ in range(random.choice([1, 1, 4, 30])):
            rotten[random.randrange(len(rotten))] ^= 1 << random.randrange(8)
    elif way == 1:
        rotten[random.randrange(100)] = random.randrange(256)  # the head of the file
    elif way == 2:
        rotten[page + random.randrange(16)] = random.randrange(256)  # the head of a page
    elif way == 3:
        size = random.choice([10, 512, 4096])
        rotten[place : place + size] = random.randbytes(min(size, len(rotten) - place))
    elif way == 4:
        other = 4096 * random.randrange(len(rotten) // 4096)
        rotten[page : page + 4096] = content[other : other + 4096]
    elif way == 5:
        del rotten[place:]
    else:
        rotten[place:place] = bytes(random.choice([1, 4096]))
    return bytes(rotten)


class TestDamage:
    @pytest.mark.parametrize("in_use", [False, True])
    @pytest.mark.parametrize("way", range(7))
    def test_rot_gives_no_wrong_value(self, tmp_path: Path, written: bytes, way: int, in_use: bool) -> None:
        """A value is the one that was stored or is not found, nothing is raised, and the cache works again."""
        rolls = random.Random(way)
        file = tmp_path / "vectors-2.sqlite"
        found = 0
        for _ in range(12):
            for path in tmp_path.iterdir():
                path.unlink()
            file.write_bytes(written if in_use else rotten(written, way, rolls))
            cache = VectorCache(tmp_path, memory_mb=1e-6)
            if in_use:
                assert cache.get(key(1)) == value(1)
                with file.open("r+b") as stream:
                    stream.write(content := rotten(written, way, rolls))
                    stream.truncate(len(content))
            for number in range(40):
                got = cache.get(key(number))
                assert got in (None, value(number))
                found += got is not None
            for number in range(40, 44):
                cache.put(key(number), value(number))
                assert cache.get(key(number)) in (None, value(number))
            end(cache)
            again = VectorCache(tmp_path, memory_mb=1e-6)
            for number in range(40, 44):
                again.put(key(number), value(number))
            assert all(again.get(key(number)) == value(number) for number in range(40, 44))
            end(again)
        assert found > 0 or way >= 5  # which SQLite sees at once

    @pytest.mark.parametrize(
        "change",
        [
            "value = x''", "value = x'00'", "value = NULL", "value = 7", "value = 'text'", "value = CAST(x'ff' AS TEXT)",
            "used = NULL", "used = 'today'", "used = 1e300", "value = substr(value, 1, 100)", "value = value || x'00'",
            "value = (SELECT value FROM vectors WHERE key = x'" + key(2).hex() + "')",
            "value = zeroblob(2068)", "value = zeroblob(1000000)",
        ],
    )  # fmt: skip
    def test_a_damaged_row_is_dropped_and_the_others_stay(self, tmp_path: Path, change: str) -> None:
        cache = VectorCache(tmp_path, memory_mb=1e-6)
        for number in range(3):
            cache.put(key(number), value(number))
        database = sqlite3.connect(next(tmp_path.glob("*.sqlite")))
        database.execute(f"UPDATE vectors SET {change} WHERE key = ?", (key(1),))
        database.commit()
        assert cache.get(key(1)) is None
        assert database.execute("SELECT COUNT(*) FROM vectors").fetchone() == (2,)
        database.close()
        assert (cache.get(key(0)), cache.get(key(2))) == (value(0), value(2))
        cache.put(key(1), value(1))
        assert cache.get(key(1)) == value(1)

    @pytest.mark.parametrize("statement", ["DROP TABLE vectors", "ALTER TABLE vectors RENAME COLUMN value TO other"])
    def test_another_schema_while_in_use(self, tmp_path: Path, statement: str) -> None:
        cache = VectorCache(tmp_path, memory_mb=1e-6)
        cache.put(key(1), value(1))
        database = sqlite3.connect(next(tmp_path.glob("*.sqlite")))
        database.execute(statement)
        database.commit()
        database.close()
        assert cache.get(key(1)) is None
        cache.put(key(1), value(1))
        assert cache.get(key(1)) == value(1)
        assert (tmp_path / "vectors-2.damaged").exists()

    def test_what_an_older_layout_holds_is_not_read(self, tmp_path: Path) -> None:
        database = sqlite3.connect(tmp_path / "vectors-1.sqlite")
        database.execute("CREATE TABLE vectors (key BLOB PRIMARY KEY, value BLOB, used INTEGER) WITHOUT ROWID")
        database.execute("INSERT INTO vectors VALUES (?, ?, 0)", (key(1), value(1)))
        database.commit()
        database.close()
        assert VectorCache(tmp_path).get(key(1)) is None

    def test_a_file_that_another_process_has_begun_anew_is_found(self, tmp_path: Path) -> None:
        cache = VectorCache(tmp_path, memory_mb=1e-6)
        cache.put(key(1), value(1))
        for path in tmp_path.iterdir():
            path.unlink()
        for number in range(64):
            cache.put(key(number), value(number))
        assert VectorCache(tmp_path).get(key(63)) == value(63)

    @pytest.mark.parametrize("content", ["nan", "infinite start", "another length", "no windows", "short", "odd"])
    def test_a_value_that_is_no_vector_of_the_model(self, tmp_path: Path, content: str) -> None:
        """As another program, or a fault of this one, may have written it, checksum and all."""
        cache = VectorCache(tmp_path, memory_mb=1)
        memory, dim = EmbeddingCache(cache, "fingerprint", 8), 8
        vector = np.arange(dim, dtype=np.float32)
        sound = EmbeddedSound(
            source="x", vector=vector, windows=np.stack([vector]), starts_s=(0.0,), fingerprint="fingerprint"
        )
        memory.store(key(1), sound)
        memory.store_text(key(2), vector)
        good, text = cache.get(key(1)), cache.get(key(2))
        assert good is not None
        assert text is not None
        shorter = replace(sound, vector=vector[:7], windows=vector[None, :7])
        packed_otherwise = embedding_cache._packed(shorter)  # pyright: ignore[reportPrivateUsage]
        bad_sound, bad_text = {
            "nan": (good[:-4] + np.float32("nan").tobytes(), text[:-4] + np.float32("-inf").tobytes()),
            "infinite start": (good[:8] + np.float64("inf").tobytes() + good[16:], np.full(8, np.nan, "<f4").tobytes()),
            "another length": (packed_otherwise, text[:-4]),
            "no windows": (bytes(4) + good[4:8] + good[-32:], b""),
            "short": (good[:5], text[:3]),
            "odd": (good + b"x", text + b"x"),
        }[content]
        cache.put(key(1), bad_sound)
        cache.put(key(2), bad_text)
        assert memory.find(key(1), "x") is None
        assert memory.find_text(key(2)) is None
        assert cache.get(key(1)) is cache.get(key(2)) is None  # dropped
        assert cache.bytes_in_memory == 0


class TestRoom:
    @pytest.mark.parametrize("disk_mb", [0.3, 1])
    @pytest.mark.seconds
    def test_everything_on_disk_stays_below_the_bound(self, tmp_path: Path, disk_mb: float) -> None:
        program = """
import sys
from claprt.model.vector_cache import VectorCache
cache = VectorCache(sys.argv[1], memory_mb=1e-6, disk_mb=float(sys.argv[2]))
for number in range(200):
    name = bytes([int(sys.argv[3])]) + number.to_bytes(31, "big")
    cache.put(name, name * 128)
    assert cache.get(name) in (None, name * 128)
"""
        workers = [
            subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "new"), str(disk_mb), str(n)]) for n in range(4)
        ]
        largest = 0
        while any(worker.poll() is None for worker in workers):
            sizes = [path.stat().st_size for path in (tmp_path / "new").glob("*") if path.exists()]
            largest = max(largest, sum(sizes))
            time.sleep(0.01)
        assert [worker.returncode for worker in workers] == [0] * 4
        assert 0.2e6 * disk_mb < largest <= 1e6 * disk_mb
        cache = VectorCache(tmp_path / "new", memory_mb=1e-6, disk_mb=disk_mb)
        cache.put(key(1), value(1))
        assert cache.get(key(1)) == value(1)

    def test_a_smaller_bound_shrinks_the_file(self, tmp_path: Path) -> None:
        cache = VectorCache(tmp_path, memory_mb=1e-6, disk_mb=10)
        for number in range(900):
            cache.put(key(number), value(number))
        end(cache)
        before = sum(path.stat().st_size for path in tmp_path.iterdir())
        smaller = VectorCache(tmp_path, memory_mb=1e-6, disk_mb=1)
        assert before > 2e6
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1e6
        assert sum(smaller.get(key(number)) == value(number) for number in range(900)) > 50

    def test_a_value_beyond_the_bound_is_kept_in_memory_alone(self, tmp_path: Path) -> None:
        cache = VectorCache(tmp_path, disk_mb=0.3)
        cache.put(key(1), bytes(200_000))
        assert cache.get(key(1)) == bytes(200_000)
        assert VectorFile(tmp_path, 300_000).get(key(1)) is None

    @pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
    @pytest.mark.seconds
    def test_a_full_disk_ends_nothing(self, tmp_path: Path) -> None:
        """A limit of the size of files stands in for one; with it the first write, or a later one, fails."""
        rooms = (0, 1000, 20_000, 50_000, 100_000)
        program = """
import os, resource, sys, warnings
from claprt.model.vector_cache import VectorCache
for room in sys.argv[2:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), resource.RLIM_INFINITY))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        cache = VectorCache(os.path.join(sys.argv[1], room))
        for number in range(50):
            cache.put(number.to_bytes(32, "big"), bytes(2000))
            assert cache.get(number.to_bytes(32, "big")) == bytes(2000)
        assert len(warned) <= 1, warned
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for number in range(50):
            cache.put(number.to_bytes(32, "big"), bytes(1000))
    print(room, [warning.category.__name__ for warning in warned])
"""
        command = [sys.executable, "-c", program, str(tmp_path), *map(str, rooms)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [f"{room} {['CacheWarning'] if room < 32_768 else []}" for room in rooms]
        for room in rooms:
            assert VectorCache(tmp_path / str(room)).get(key(49)) == bytes(1000)

    def test_no_room_for_the_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "mkdir", full)
        with pytest.warns(CacheWarning, match="no room in the cache folder"):
            cache = VectorCache(tmp_path / "new")
        cache.put(key(1), b"one")
        assert cache.get(key(1)) == b"one"

    def test_a_writer_of_a_new_file_is_waited_for(self, tmp_path: Path) -> None:
        """Processes that start at one time all change its mode, for which SQLite itself does not wait."""
        with closing(
            sqlite3.connect(tmp_path / "vectors-2.sqlite", isolation_level=None, check_same_thread=False)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            threading.Timer(0.2, other.execute, ("ROLLBACK",)).start()
            cache = VectorCache(tmp_path, memory_mb=1e-6)
        cache.put(key(1), value(1))
        assert cache.get(key(1)) == value(1)

    def test_a_lock_that_is_held_for_long_ends_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(vector_cache_file, "_BUSY_S", 0.05)
        with closing(sqlite3.connect(tmp_path / "vectors-2.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.warns(CacheWarning, match="Another program holds a lock in the cache folder"):
                cache = VectorCache(tmp_path, memory_mb=1e-6)
            cache.put(key(1), value(1))
            assert cache.get(key(1)) is None
        cache.put(key(1), value(1))
        assert cache.get(key(1)) == value(1)

    @pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes")
    def test_the_folder_is_its_owners(self, tmp_path: Path) -> None:
        VectorCache(tmp_path / "deep" / "new")
        assert (tmp_path / "deep" / "new").stat().st_mode & 0o777 == 0o700
