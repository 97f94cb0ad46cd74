"""What training hears: recorded and synthesised sounds as log-mels, computed once and kept in one file.

Log-mels are computed by the runtime's own front end, at the natural length of each sound. A recording is kept at several
speeds; everything else that varies is varied later, on log-mels (`augment.py`).
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from claprt.audio.log_mel import log_mel
from claprt.audio.preprocess import int16_round_trip, preprocess_blocks, recipe
from claprt.audio.resample import SoxrResampler
from claprt.audio.sound import open_sound
from claprt.bundle.manifest import MelSpec
from claprt_export.errors import ExportError
from claprt_export.synthesis.captions import ESC10_WORDINGS, content_words, words_of_name, words_of_sample
from claprt_export.synthesis.classes import KINDS, synthesise
from claprt_export.synthesis.signals import RATE

SPEEDS = (1.0, 0.84, 0.9, 0.95, 1.06, 1.12, 1.19)
"""Speeds (and pitches) that a recording is heard at."""

SYNTHESISED = 110
"""Synthesised sounds of each kind for training."""

SYNTHESISED_TEST = 12
"""Synthesised sounds of each kind for the evaluation, with parameters of their own."""

_LONGEST_S = 10.0

# ESC-10 and the instrument library name a few things alike
_SAME = {
    "dog bark": "dog", "ambient rain": "rain", "waves small": "sea waves", "ambient policesiren": "police siren",
    "trashcan": "trashcan", "synth laser": "laser", "laser gun": "laser", "shakers": "shaker", "squeaks": "squeak",
    "silence": "silence",
}  # fmt: skip


_SYNTHESISED_WORDS = {content_words(wording) for kind in KINDS.values() for wording in kind.wordings}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One sound at one speed. Its log-mel is rows `start` to `start + frames` of the store."""

    source: str
    """`esc10`, `berklee`, `sonicpi` or `synthesised`."""
    concept: str
    """What it is a sound of; sounds of one concept are positives of each other."""
    part: str
    """`train`; of named recordings also `seen` and `unseen` (held out, of a name training knows or does not know); of
    synthesised sounds also `test`; of ESC-10 the fold, `1` to `4`."""
    recording: int
    """Number that all speeds of one recording share."""
    speed: float
    start: int
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """All clips and their log-mels [frames, mels] in dB, float16."""

    clips: tuple[Clip, ...]
    mels: NDArray[np.float16]

    def of(self, clip: Clip) -> NDArray[np.float16]:
        """The log-mel of one clip."""
        return self.mels[clip.start : clip.start + clip.frames]

    def wordings(self, concept: str) -> tuple[str, ...]:
        """What a concept may be called, the plainest first."""
        if concept in ESC10_WORDINGS:
            return (concept, concept, concept, *ESC10_WORDINGS[concept])
        return KINDS[concept].wordings if concept in KINDS else (concept,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    source: str
    concept: str
    part: str
    recording: int
    speed: float = 1.0
    path: str = ""
    seed: int = 0


def held_out_part(concept: str, position: int, count: int) -> str:
    """Where a named recording belongs: names are drawn by their checksum, recordings of a name by their position.

    One name in eight is held out whole; of the others, every fourth recording where there are three or more.
    """
    if zlib.crc32(concept.encode()) % 8 == 0:
        return "unseen"
    return "seen" if count >= 3 and position % 4 == 2 else "train"


def named_recordings(folder: Path, source: str) -> Iterator[tuple[str, str, Path]]:
    """Concept, part and path of every recording of a library whose file names say what is heard."""
    said = words_of_name if source == "berklee" else words_of_sample
    files = sorted(folder.glob("*.mp3" if source == "berklee" else "*.flac"))
    concepts = [_SAME.get(words, words) for words in (said(file.stem) for file in files)]
    counts, position = Counter(concepts), Counter[str]()
    for file, concept in zip(files, concepts, strict=True):
        known = concept in ESC10_WORDINGS or content_words(concept) in _SYNTHESISED_WORDS
        part = "train" if known else held_out_part(concept, position[concept], counts[concept])
        position[concept] += 1
        yield concept, part, file


def _jobs(esc10: Path | None, berklee: Path | None, sonicpi: Path | None, synthesised: int) -> Iterator[_Job]:
    recording = 0
    recordings: list[tuple[str, str, str, Path]] = []
    if esc10 is not None:
        with (esc10 / "labels.csv").open(newline="", encoding="utf-8") as file:
            recordings += [
                ("esc10", row["label"].replace("_", " "), row["fold"], esc10 / row["file"]) for row in csv.DictReader(file)
            ]
    if berklee is not None:
        recordings += [("berklee", *found) for found in named_recordings(berklee, "berklee")]
    if sonicpi is not None:
        recordings += [("sonicpi", *found) for found in named_recordings(sonicpi, "sonicpi")]
    for source, concept, part, path in recordings:
        recording += 1
        for speed in SPEEDS if source == "esc10" else SPEEDS[:1] + SPEEDS[1::2]:
            yield _Job(source=source, concept=concept, part=part, recording=recording, speed=speed, path=str(path))
    for concept in KINDS:
        for part, count in (("train", synthesised), ("test", min(synthesised, SYNTHESISED_TEST))):
            for number in range(count):
                recording += 1
                seed = zlib.crc32(f"{concept}/{part}/{number}".encode())
                yield _Job(source="synthesised", concept=concept, part=part, recording=recording, seed=seed)


def _heard(job: _Job) -> tuple[_Job, NDArray[np.float16]]:
    spec = MelSpec()
    if job.path:
        sound = open_sound(job.path, None, RATE)
        samples = np.concatenate(list(preprocess_blocks(sound, recipe("laion"), RATE)))
        if job.speed != 1.0:
            samples = SoxrResampler(round(RATE * job.speed), RATE, "float32")(samples, last=True).astype(np.float32)
    else:
        samples = int16_round_trip(synthesise(job.concept, np.random.default_rng(job.seed)))
    samples = samples[: round(_LONGEST_S * RATE)]
    if samples.size <= spec.n_fft:
        samples = np.tile(samples, -(-(spec.n_fft + 1) // samples.size))
    return job, log_mel(samples, spec).astype(np.float16)


def make_store(
    file: Path,
    *,
    esc10: Path | None,
    berklee: Path | None,
    sonicpi: Path | None,
    synthesised: int = SYNTHESISED,
    processes: int = 2,
) -> Store:
    """Read the store from its file, or compute it and write it there.

    Args:
        file: `.npz`; what it was made of is kept beside it, and a store of something else is refused.
        esc10: folder with `labels.csv` (file, fold, label) and the clips; None to do without.
        berklee: folder of MP3s named after what they are.
        sonicpi: folder of FLACs named after what they are.
        synthesised: sounds of each synthesised kind.
        processes: that share the work.
    """
    folders = {"esc10": esc10, "berklee": berklee, "sonicpi": sonicpi}
    claim(
        file.with_suffix(".json"), {key: path is not None for key, path in folders.items()} | {"synthesised": synthesised}
    )
    if file.is_file():
        return read_store(file)
    jobs = list(_jobs(esc10, berklee, sonicpi, synthesised))
    clips: list[Clip] = []
    mels: list[NDArray[np.float16]] = []
    start = 0
    for job, mel in tqdm(_parallel(jobs, processes), total=len(jobs), desc="log-mels", unit="sound", mininterval=1.0):
        facts = {key: value for key, value in asdict(job).items() if key not in ("path", "seed")}
        clips.append(Clip(**facts, start=start, frames=len(mel)))
        mels.append(mel)
        start += len(mel)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    np.savez(
        part,
        mels=np.concatenate(mels),
        clips=np.frombuffer(json.dumps([asdict(clip) for clip in clips]).encode(), np.uint8),
    )
    part.replace(file)
    return read_store(file)


def claim(file: Path, facts: dict[str, Any]) -> None:
    """Write down what a result is made with, beside where it will lie; a result made with something else is refused.

    Raises:
        ExportError: the file says something else.
    """
    text = json.dumps(facts, indent=1, default=str)
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise ExportError(
            f"{file.parent} holds results that were made otherwise ({file.name} says how). Remove them first."
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _parallel(jobs: Sequence[_Job], processes: int) -> Iterable[tuple[_Job, NDArray[np.float16]]]:
    if processes == 1:
        return map(_heard, jobs)
    pool = multiprocessing.get_context("spawn").Pool(processes)
    return pool.imap(_heard, jobs, chunksize=16)


def read_store(file: Path) -> Store:
    """The store in a file."""
    with np.load(file) as content:
        rows: list[dict[str, Any]] = json.loads(content["clips"].tobytes())
        return Store(clips=tuple(Clip(**row) for row in rows), mels=content["mels"])
