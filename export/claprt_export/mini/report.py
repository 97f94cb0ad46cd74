"""The figures of docs/mini.md, measured on a bundle through the runtime: `python -m claprt_export.mini.report`."""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import claprt
from claprt import Clap
from claprt.evaluation.reading.read import read_dataset
from claprt.evaluation.zero_shot import DEFAULT_TEMPLATE, evaluate
from claprt.scoring.labels import apply_template
from claprt_export.mini.dataset import SYNTHESISED_TEST, named_recordings
from claprt_export.synthesis.captions import HELD_OUT_TEMPLATES, alike
from claprt_export.synthesis.classes import KINDS, synthesise
from claprt_export.synthesis.signals import RATE

_CANDIDATES = 20


def synthesised(clap: Clap, *, held_out: bool, vectors: NDArray[np.float32]) -> float:
    """Zero-shot top-1 in [0, 1] over all kinds on `test_sounds`, the mean over several sets of wordings.

    Set n has each kind's wording n, counted round where a kind has fewer. `vectors` are those of the sounds [sounds, dim].
    """
    rounds = max(len(kind.held_out if held_out else kind.wordings) for kind in KINDS.values())
    truth = np.repeat(np.arange(len(KINDS)), len(vectors) // len(KINDS))
    shares: list[float] = []
    for number in range(rounds):
        every = [kind.held_out if held_out else kind.wordings for kind in KINDS.values()]
        labels = [wordings[number % len(wordings)] for wordings in every]
        text = clap.embed_text(apply_template(DEFAULT_TEMPLATE, labels))
        shares.append(float(((vectors @ text.T).argmax(1) == truth).mean()))
    return float(np.mean(shares))


def test_sounds() -> list[NDArray[np.float32]]:
    """Synthesised test sounds [samples] in [-1, 1], equally many of each kind, in the order of kinds.

    Their parameters are never drawn in training.
    """
    return [
        synthesise(name, np.random.default_rng(zlib.crc32(f"{name}/test/{number}".encode())))
        for name in KINDS
        for number in range(SYNTHESISED_TEST)
    ]


def named(clap: Clap, berklee: Path, sonicpi: Path, part: str, *, unlike: bool = False) -> tuple[int, float]:
    """Held-out named recordings: their number, and the share with the right name among the first five of twenty.

    Args:
        clap: the model.
        berklee: folder of the Berklee recordings.
        sonicpi: folder of the Sonic Pi samples.
        part: `seen` for names that training has, `unseen` for others.
        unlike: only names that share less than half of their words with every name of training.
    """
    recordings = [*named_recordings(berklee, "berklee"), *named_recordings(sonicpi, "sonicpi")]
    names = sorted({concept for concept, _, _ in recordings})
    trained = {concept for concept, where, _ in recordings if where == "train"}
    asked = [
        (concept, path)
        for concept, where, path in recordings
        if where == part and not (unlike and any(alike(concept, other) for other in trained))
    ]
    vectors = clap.embed_audio([path for _, path in asked])
    text = clap.embed_text(apply_template(DEFAULT_TEMPLATE, names))
    random, hits = np.random.default_rng(0), 0
    for (concept, _), vector in zip(asked, vectors, strict=True):
        right = names.index(concept)
        others = random.choice([number for number in range(len(names)) if number != right], _CANDIDATES - 1, replace=False)
        cosines = text[np.array([right, *others])] @ vector
        hits += int((cosines[1:] >= cosines[0]).sum() < 5)
    return len(asked), hits / len(asked)


def report(clap: Clap, esc10: Path, berklee: Path, sonicpi: Path, fold: str) -> dict[str, Any]:
    """All figures of a trained model.

    Args:
        clap: the model.
        esc10: folder of ESC-10.
        berklee: folder of the Berklee recordings.
        sonicpi: folder of the Sonic Pi samples.
        fold: of ESC-10 that was held out.
    """
    scored = evaluate(clap, read_dataset(esc10, folds=[fold]), templates=[DEFAULT_TEMPLATE, *HELD_OUT_TEMPLATES])
    vectors = clap.embed_audio(test_sounds(), RATE)
    seen, unseen = named(clap, berklee, sonicpi, "seen"), named(clap, berklee, sonicpi, "unseen")
    unlike = named(clap, berklee, sonicpi, "unseen", unlike=True)
    return {
        "fingerprint": clap.fingerprint,
        "esc10_fold": fold,
        "esc10_top1": scored.zero_shot[0].top1,
        "esc10_top1_held_out_templates": {result.template: result.top1 for result in scored.zero_shot[1:]},
        "synthesised_sounds": len(vectors),
        "synthesised_seen_wordings": synthesised(clap, held_out=False, vectors=vectors),
        "synthesised_held_out_wordings": synthesised(clap, held_out=True, vectors=vectors),
        "named_seen": {"sounds": seen[0], "R@5 of 20": seen[1]},
        "named_unseen": {"sounds": unseen[0], "R@5 of 20": unseen[1]},
        "named_unseen_unlike": {"sounds": unlike[0], "R@5 of 20": unlike[1]},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as lines, one each."""
    lines: list[str] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            lines += [f"{name}: {key}: {_shown(inner)}" for key, inner in value.items()]
        else:
            lines.append(f"{name}: {_shown(value)}")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Measure the figures of docs/mini.md.")
    parser.add_argument("--bundle", required=True, help="bundle of a run that held out what is asked here")
    parser.add_argument("--esc10", type=Path, required=True)
    parser.add_argument("--berklee", type=Path, required=True)
    parser.add_argument("--sonicpi", type=Path, required=True)
    parser.add_argument("--fold", default="4")
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    options = parser.parse_args(arguments)
    figures = report(claprt.load(options.bundle), options.esc10, options.berklee, options.sonicpi, options.fold)
    print(table(figures))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
