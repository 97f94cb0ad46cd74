"""A library in memory, for tests of what the service does with one."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

import claprt
from claprt.arrays import Embedding, Embeddings
from claprt.errors import OptionError
from claprt.model.results import mean_pool
from claprt.serve.library.interface import FoundSound, Query, SoundFacts


class MemoryLibrary:
    """The sounds of a folder. Hits are sounds, by their best window; `where` knows `duration_s < N` alone."""

    def __init__(self, clap: claprt.Clap, folder: Path) -> None:
        self.fingerprint = clap.fingerprint
        self.served = [str(folder)]
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
            file=None if "://" in stated else stated,
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

    def roots(self) -> Sequence[str]:
        return self.served

    def counts(self) -> tuple[int, int]:
        return len(self.sounds), sum(len(windows) for _, windows, _ in self.sounds.values())

    def find(self, sound_id: str) -> SoundFacts | None:
        found = self.sounds.get(sound_id)
        return None if found is None else found[0]

    def vectors(self, ids: Sequence[str]) -> list[Embedding]:
        """Vectors of whole sounds."""
        for one in ids:
            if one not in self.sounds:
                raise OptionError(f"The library has no sound {one!r}.")
        return [mean_pool(self.sounds[one][1]) for one in ids]

    def search(self, query: Query) -> list[FoundSound]:
        self.asked.append(query)
        most = float("inf")
        if query.where is not None:
            column, _, number = query.where.partition(" < ")
            if column != "duration_s":
                raise OptionError(f"where={query.where!r} is not a filter.")
            most = float(number)
        count = len(query.texts)
        like = [*query.text_vectors[:count], *query.sounds, *self.vectors(query.like)]
        unlike = [*query.text_vectors[count:], *self.vectors(query.unlike)]
        wanted = np.mean(like, 0) - (np.mean(unlike, 0) if unlike else 0)
        hits = list[FoundSound]()
        for facts, windows, starts in self.sounds.values():
            scores = windows @ wanted
            best = np.argsort(-scores)
            if (facts.duration_s or 0) < most:
                found = [(starts[at], float(scores[at])) for at in best]
                hits.append(
                    FoundSound(facts=facts, score=found[0][1], start_s=found[0][0], windows=found if query.windows else ())
                )
        return sorted(hits, key=lambda hit: -hit.score)[: query.k]
