"""Fills a map with different sounds, each as good an answer to a description as could be found: CMA-MAE with pyribs.

    pip install '.[cpu,examples]' ./export
    python examples/pyribs_sound_search.py --prompt "a bright bell"

A synthesiser of fourteen numbers is searched. A sound's place on the map is its two behaviour descriptors, learned from
random sounds of this same synthesiser (or the bundle's own, if it has a projection); its quality is its cosine with the
description. Why two: a picture can show two, and a few thousand sounds can fill a grid of a thousand cells. Six, which is
what kromosynth learns, are more than such a budget can cover, and taking the first two of them would make sounds compete
that differ in the other four. Where a bundle has six, `--axes` says which two are mapped.

CMA-MAE (Fontaine and Nikolaidis 2023) is three choices in pyribs: an archive whose thresholds rise slowly (`learning_rate`
below 1) from `threshold_min`, emitters that rank by improvement over the threshold ("imp"), and a second archive that keeps
the best.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from tqdm import tqdm

import claprt
from claprt.errors import ClaprtError, MissingDependencyError

Array = NDArray[Any]
GENES = 14
SECONDS = 1.0
BATCH = 36
EMITTERS = 5
RATE = 48_000
MAPPED = "bundle-with-map"  # a copy of the bundle, with the projection in it


def synthesise(genome: Array, rate: int = RATE) -> Array:
    """One second of sound [samples] from any fourteen numbers: FM, noise, envelope, glide, tremolo, a filter that moves."""
    genes = 1 / (1 + np.exp(-np.asarray(genome, np.float64)))  # the search is unbounded, the knobs are not
    (carrier, ratio, index, dulling, noise, attack, decay, sustain, glide, beat, depth, low, high, peak) = genes
    t = np.arange(int(SECONDS * rate)) / rate
    pitch = _log(carrier, 40, 4000) * 2 ** ((4 * glide - 2) * (np.exp(-t / 0.15) - np.exp(-SECONDS / 0.15)))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    brightness = 12 * index**2 * np.exp(-t / _log(dulling, 0.03, 3))
    tone = np.sin(phase + brightness * np.sin(_log(ratio, 0.25, 8) * phase))
    hiss = np.random.default_rng(0).uniform(-1, 1, len(t))  # the same every time: a genome is one sound
    rise, fall = _log(attack, 0.001, 0.4), _log(decay, 0.02, 1.5)
    after = np.maximum(t - rise, 0)
    envelope = np.minimum(t / rise, 1) * (sustain**2 + (1 - sustain**2) * np.exp(-after / fall))
    tremolo = 1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * _log(beat, 1, 40) * t))
    raw = ((1 - noise) * tone + noise * hiss) * envelope * tremolo
    sound = _filtered(raw, rate, _log(low, 80, 16_000), _log(high, 80, 16_000), 6 * peak, t)
    sound *= np.minimum(1, (SECONDS - t) / 0.02)  # no click at the end
    return (0.9 * sound / max(float(np.abs(sound).max()), 1e-6)).astype(np.float32)


def _log(share: float, low: float, high: float) -> float:
    return low * (high / low) ** share


def _filtered(raw: Array, rate: int, before: float, after: float, peak: float, t: Array) -> Array:
    """A low-pass with a resonance that moves from one cut-off in Hz to another, as a cross-fade of two filtered copies."""
    spectrum = np.fft.rfft(raw)
    octaves = np.fft.rfftfreq(len(raw), 1 / rate)[:, None] / [before, after]
    gains = (1 + peak * np.exp(-((8 * (octaves - 1)) ** 2))) / np.sqrt(1 + octaves**8)
    first, last = np.fft.irfft(spectrum[:, None] * gains, n=len(raw), axis=0).T
    share = np.exp(-t / 0.25)
    return share * first + (1 - share) * last


@dataclass
class Ear:
    """A model that hears genomes, and how long that took."""

    clap: claprt.Clap
    heard: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"synthesis": 0.0, "embedding": 0.0})

    def hear(self, genomes: Array) -> Array:
        """Embeddings [n, dim] of their sounds, all in one call."""
        started = time.perf_counter()
        sounds = [synthesise(genome) for genome in genomes]
        made = time.perf_counter()
        vectors = self.clap.embed_audio(sounds, RATE)
        self.seconds["synthesis"] += made - started
        self.seconds["embedding"] += time.perf_counter() - made
        self.heard += len(genomes)
        return vectors


def with_projection(clap: claprt.Clap, vectors: Array, out: Path) -> claprt.Clap:
    """The same model from a copy of its bundle with a projection of two descriptors, trained on these vectors [n, dim]."""
    if (out / MAPPED).exists():
        raise ClaprtError(f"{out / MAPPED} exists: name it with --bundle, or choose another --out.")
    from claprt_export.projection.install import put_projection
    from claprt_export.projection.network import ProjectionConfig
    from claprt_export.projection.train import Plan, save_trained, train_projection
    from claprt_export.projection.training_data import material
    from claprt_export.projection.triplets import proxy_triplets

    started = time.perf_counter()
    sounds = material(vectors)
    triplets = proxy_triplets(sounds, neighbours=min(10, len(vectors) // 4))
    plan = Plan(epochs=20, triplets=10 * len(vectors), batch=64)
    trained = train_projection(sounds, triplets, ProjectionConfig(input_dim=clap.dim, output_dim=2), plan)
    right, untrained = 100 * trained.accuracy, 100 * trained.untrained_accuracy
    print(f"projection trained on {len(vectors)} random sounds in {time.perf_counter() - started:.1f} s: held-out triplets")
    print(f"  right {right:.0f} % ({untrained:.0f} % untrained), use of [0, 1]: {trained.use}")
    shutil.copytree(clap.bundle.path, out / MAPPED, copy_function=_link)
    put_projection(save_trained(trained, out / "projection.pt"), out / MAPPED)
    return claprt.load(out / MAPPED)


def _link(source: str, target: str) -> None:
    """A second name for the same file, which costs no space, or where that cannot be had a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@dataclass
class Search:
    """What is looked for, and how the answers are kept."""

    ear: Ear
    prompt: Array
    axes: tuple[int, int]
    cells: int
    floor: float
    """Cosine from which on a sound counts: the QD score adds up what is above it, and CMA-MAE's thresholds begin there."""
    known: Array  # genomes of the random sounds that every archive starts from
    vectors: Array  # and their embeddings

    def archive(self, **options: Any) -> Any:
        """A grid over the two axes, with the sounds that were heard already in it."""
        from ribs.archives import GridArchive  # pyright: ignore[reportMissingImports]

        options |= {"dims": [self.cells] * 2, "ranges": [(0, 1)] * 2, "qd_score_offset": self.floor}
        grid = GridArchive(solution_dim=GENES, **options)
        grid.add(self.known, *self.judged(self.vectors))
        return grid

    def judged(self, vectors: Array) -> tuple[Array, Array]:
        """Quality [n], and place on the map [n, 2]."""
        return vectors @ self.prompt, self.ear.clap.project(vectors)[:, list(self.axes)]

    def cma_mae(self, evaluations: int, seed: int) -> Any:
        """The archive that CMA-MAE fills with that many more sounds, a multiple of `BATCH`."""
        from ribs.emitters import EvolutionStrategyEmitter  # pyright: ignore[reportMissingImports]
        from ribs.schedulers import Scheduler  # pyright: ignore[reportMissingImports]

        soft, kept = self.archive(learning_rate=0.01, threshold_min=self.floor, seed=seed), self.archive()
        count = min(EMITTERS, evaluations // BATCH)
        emitters = [
            EvolutionStrategyEmitter(
                soft, x0=genome, sigma0=1.0, ranker="imp", selection_rule="mu", restart_rule="basic", batch_size=BATCH,
                seed=seed + number,
            )
            for number, genome in enumerate(soft.sample_elites(count)["solution"])
        ]  # fmt: skip
        scheduler = Scheduler(soft, emitters, result_archive=kept)
        with tqdm(total=evaluations, unit="sound", desc="CMA-MAE") as bar:
            while bar.n < evaluations:
                genomes = scheduler.ask()
                scheduler.tell(*self.judged(self.ear.hear(genomes)))
                bar.update(len(genomes))
                bar.set_postfix_str(_figures(kept))
        return kept

    def random(self, evaluations: int, seed: int) -> Any:
        """The archive that as many random sounds fill."""
        kept = self.archive()
        with tqdm(total=evaluations, unit="sound", desc="random ") as bar:
            while bar.n < evaluations:
                genomes = random_genomes(min(EMITTERS * BATCH, evaluations - bar.n), [seed, bar.n + 1])
                kept.add(genomes, *self.judged(self.ear.hear(genomes)))
                bar.update(len(genomes))
                bar.set_postfix_str(_figures(kept))
        return kept


def random_genomes(count: int, seed: int | list[int]) -> Array:
    """Genomes [count, 14] whose knobs are anywhere with the same chance."""
    share = np.random.default_rng(seed).uniform(0.001, 0.999, (count, GENES))
    return np.log(share / (1 - share))


def _figures(archive: Any) -> str:
    stats = archive.stats
    return f"coverage {100 * stats.coverage:.1f} %, best {stats.obj_max:+.3f}, QD {stats.qd_score:.1f}"


def _elites(archive: Any, cells: int) -> tuple[Array, Array, Array]:
    """Genomes, qualities and grid positions of what an archive holds, best first."""
    found = archive.data(["solution", "objective", "index"])
    genomes, quality, index = (np.asarray(found[name]) for name in ("solution", "objective", "index"))
    order = np.argsort(-quality)
    return genomes[order], quality[order], np.stack(np.unravel_index(index[order], (cells, cells)), axis=1)


def draw(archives: dict[str, Any], search: Search, prompt: str, out: Path) -> None:
    """Archives as heat maps of one scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.6), layout="constrained")
    maps = np.full((len(archives), search.cells, search.cells), np.nan)
    for number, archive in enumerate(archives.values()):
        _, quality, places = _elites(archive, search.cells)
        maps[number, places[:, 1], places[:, 0]] = quality
    low, high = np.nanmin(maps), np.nanmax(maps)
    for number, (name, archive) in enumerate(archives.items()):
        axes = figure.add_subplot(1, len(archives), number + 1)
        axes.set_facecolor("0.9")
        axes.imshow(maps[number], origin="lower", extent=(0, 1, 0, 1), vmin=low, vmax=high, cmap="viridis")
        axes.set_title(f"{name}\n{_figures(archive)}", fontsize=10)
        axes.set_xlabel(f"descriptor {search.axes[0] + 1}")
        axes.set_ylabel(f"descriptor {search.axes[1] + 1}")
    figure.colorbar(figure.axes[0].images[0], ax=figure.axes, label=f'cosine with "{prompt}"')
    figure.suptitle(f'Sounds found for "{prompt}": the best of each cell, as {search.ear.clap.manifest.name} hears them')
    figure.savefig(out, dpi=110)


def write_best(archive: Any, search: Search, out: Path, count: int = 8) -> None:
    """The best sounds as wav files, no two of them from neighbouring cells."""
    genomes, quality, places = _elites(archive, search.cells)
    chosen: list[int] = []
    for number in range(len(genomes)):
        apart = all(np.abs(places[number] - places[other]).max() > search.cells // 8 for other in chosen)
        if apart and len(chosen) < count:
            chosen.append(number)
    for rank, number in enumerate(chosen, start=1):
        soundfile.write(out / f"best-{rank}_{quality[number]:+.2f}.wav", synthesise(genomes[number]), RATE)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def run(options: argparse.Namespace) -> None:
    """Train the map if there is none, search, and write what was found."""
    if min(options.evaluations, options.cells) < 1 or options.train_on < 40:
        raise ClaprtError("--evaluations and --cells must be 1 or more, --train-on 40 or more.")
    if not _installed("ribs"):
        raise MissingDependencyError("This needs pyribs: pip install 'claprt[cpu,export,examples]'.")
    started = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    ear = Ear(claprt.load(options.bundle))
    genomes = random_genomes(options.train_on, options.seed)
    vectors = ear.hear(genomes)
    if ear.clap.manifest.projection is None:
        ear.clap = with_projection(ear.clap, vectors, options.out)
    projection = ear.clap.manifest.projection
    if projection is None or not all(0 <= axis < projection.output_dim for axis in options.axes):
        raise ClaprtError(f"--axes {options.axes} are not two of the projection's descriptors.")
    prompt = ear.clap.embed_text(options.prompt)
    floor = float(np.quantile(vectors @ prompt, 0.1))
    search = Search(ear, prompt, tuple(options.axes), options.cells, floor, genomes, vectors)
    generation = BATCH * min(EMITTERS, -(-options.evaluations // BATCH))
    more = -(-options.evaluations // generation) * generation
    found = search.cma_mae(more, options.seed)
    archives = {"random start": search.archive(), "CMA-MAE": found, "random search": search.random(more, options.seed)}
    draw(archives, search, options.prompt, options.out / "archive.png")
    write_best(found, search, options.out)
    each = ", ".join(f"{name} {1000 * took / ear.heard:.1f} ms" for name, took in ear.seconds.items())
    print(f"{ear.heard} sounds heard in {time.perf_counter() - started:.0f} s; a sound: {each}")
    for number, (name, archive) in enumerate(archives.items()):
        heard = len(genomes) + (more if number else 0)
        print(f"{name:13}  {heard} sounds  {_figures(archive)} (above {floor:+.3f})")
    print(f"{options.out}: archive.png, best-*.wav; --bundle {ear.clap.bundle.path} searches the same map again")


def main() -> None:
    """Run the search; the exit status is 1 where it could not."""
    parser = argparse.ArgumentParser(description="Fill a map with different sounds for a description, with CMA-MAE.")
    parser.add_argument("--prompt", default="a bright bell", help="what to look for (a bright bell)")
    parser.add_argument("--bundle", default="mini", help="bundle to use (mini)")
    parser.add_argument("--out", type=Path, default=Path("sound-search"), help="folder for what is found (sound-search)")
    parser.add_argument("--evaluations", type=int, default=2160, help="sounds to try (2160), and as many at random")
    parser.add_argument("--train-on", type=int, default=1000, help="random sounds to learn the map from (1000)")
    parser.add_argument("--cells", type=int, default=32, help="cells along each axis (32)")
    parser.add_argument("--axes", type=int, nargs=2, default=(0, 1), help="descriptors to map, from 0 (0 1)")
    parser.add_argument("--seed", type=int, default=0)
    try:
        run(parser.parse_args())
    except ClaprtError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
