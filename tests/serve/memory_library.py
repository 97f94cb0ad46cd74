"""A library in memory, for tests of what the service does with one."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

import claprt
from claprt.arrays import Embeddings
from claprt.errors import OptionError
from claprt.serve.library.errors import UnknownSoundError
from claprt.serve.library.interface import FoundSound, Query, SoundFacts


class MemoryLibrary:
    """The sounds of a folder. Hits are sounds, by their best window; `where` knows `duration_s < N` alone."""

    def __init__(self, clap: claprt.Clap, folder: Path) -> None:
        self.fingerprint = clap.fingerprint
        self.roots: Sequence[str] = [str(folder)]
        self.refreshed = 0
        self.asked: list[Query] = []
        self._clap = clap
        self.sounds: dict[str, tuple[SoundFacts, Embeddings, tuple[float, ...]]] = {}
        for path in sorted(folder.rglob("*.*")):
            self.add(path)

    def add(self, path: Path, name: str | None = None) -> SoundFacts:
        """Embed a file; `name` is the path that the library has for it."""
        content = path.read_bytes()
        info, sound = soundfile.info(path), next(iter(self._clap.iter_audio([path])))
        stated = name or str(path)
        facts = SoundFacts(
            id=hashlib.sha256(stated.encode()).hexdigest()[:16],
            path=stated,
            size=len(content),
            mtime=path.stat().st_mtime,
            sha256=hashlib.sha256(content).hexdigest(),
            duration_s=info.duration,
            sample_rate=info.samplerate,
            channels=info.channels,
        )
        self.sounds[facts.id] = facts, np.asarray(sound.windows), tuple(sound.starts_s)
        return facts

    def copy(self) -> MemoryLibrary:
        """Another library with the same sounds."""
        other = copy.copy(self)
        other.asked, other.sounds = [], dict(self.sounds)
        return other

    def refresh(self) -> None:
        self.refreshed += 1

    def counts(self) -> tuple[int, int]:
        return len(self.sounds), sum(len(windows) for _, windows, _ in self.sounds.values())

    def find(self, sound_id: str) -> SoundFacts | None:
        found = self.sounds.get(sound_id)
        return None if found is None else found[0]

    def vectors(self, ids: Sequence[str]) -> Embeddings:
        for one in ids:
            if one not in self.sounds:
                raise UnknownSoundError(f"The library has no sound {one!r}.")
        rows = np.stack([self.sounds[one][1].mean(0) for one in ids])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def search(self, query: Query) -> list[FoundSound]:
        self.asked.append(query)
        most = float("inf")
        if query.where is not None:
            column, _, number = query.where.partition(" < ")
            if column != "duration_s":
                raise OptionError(f"where={query.where!r} is not a filter.")
            most = float(number)
        wanted = query.vectors.mean(0) - (query.minus.mean(0) if len(query.minus) else 0)
        hits = list[FoundSound]()
        for facts, windows, starts in self.sounds.values():
            scores = windows @ wanted
            best = np.argsort(-scores)
            if facts.duration_s < most:
                found = [(starts[at], float(scores[at])) for at in best]
                hits.append(FoundSound(facts=facts, score=found[0][1], start_s=found[0][0], windows=found))
        return sorted(hits, key=lambda hit: -hit.score)[: query.k]
