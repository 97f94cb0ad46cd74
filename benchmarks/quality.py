"""What lowered precisions cost in quality on real sounds, through the runtime, for every pair that runs here.

python benchmarks/quality.py --bundle FOLDER… --dataset FOLDER [--fold N]

For each bundle and each pair of provider and precision: cosine with fp32 once the mean vector is subtracted from both, and,
where the weights were trained, zero-shot top-1 on the dataset's labels and recall among five
(`claprt.evaluation.zero_shot`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import claprt
from claprt import Clap
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.engines.providers import PRECISIONS, Provider
from claprt.errors import ClaprtError
from claprt.evaluation.dataset import Dataset
from claprt.evaluation.reading.read import read_dataset
from claprt.evaluation.retrieval import retrieval
from claprt.evaluation.zero_shot import DEFAULT_TEMPLATE, zero_shot
from claprt.scoring.labels import apply_template
from claprt_export.precision.quality_gate import centred_cosines

ROOT = Path(__file__).parents[1]


def vectors(clap: Clap, dataset: Dataset) -> Any:
    """[sounds, dim]."""
    return clap.embed_audio([item.path for item in dataset.items])


def tasks(clap: Clap, audio: Any, dataset: Dataset) -> dict[str, float]:
    """Zero-shot top-1, and how often a sound of a label's class is among the five that fit the label best."""
    text = clap.embed_text(apply_template(DEFAULT_TEMPLATE, dataset.labels))
    truth = np.array([dataset.labels.index(str(item.label)) for item in dataset.items])
    right = truth[None] == np.arange(len(dataset.labels))[:, None]
    return {
        "top1": zero_shot(audio, text, truth, dataset.labels, DEFAULT_TEMPLATE).top1,
        "recall5": retrieval((text @ audio.T).astype(np.float32), right).recall[5],
    }


def measure(folder: Path, dataset: Dataset) -> dict[str, Any]:
    """All pairs of one bundle."""
    manifest = read_bundle(folder).manifest
    full = claprt.load(folder, provider="cpu")
    audio = vectors(full, dataset)
    trained = manifest.source.trained
    found: dict[str, Any] = {"fp32": tasks(full, audio, dataset) if trained else {}}
    for provider in (Provider.CPU, Provider.OPENVINO, Provider.NATIVE):
        for precision in PRECISIONS[provider]:
            if precision is Precision.FP32 or precision not in manifest.graphs[Stage.AUDIO]:
                continue
            try:
                clap = claprt.load(folder, provider=provider, precision=precision)
            except ClaprtError as error:
                print(f"{precision} on {provider}: {error}", file=sys.stderr)
                continue
            low = vectors(clap, dataset)
            cosines = centred_cosines(low, audio)
            found[f"{provider} {precision}"] = {
                "centred_cosine": float(cosines.mean()),
                "centred_cosine_min": float(cosines.min()),
                **(tasks(clap, low, dataset) if trained else {}),
            }
    return {"sounds": len(dataset.items), "dataset": dataset.name, "pairs": found}


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description="Measure what lowered precisions cost on real sounds.")
    parser.add_argument("--bundle", type=Path, nargs="+", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--fold", action="append", default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "quality.json")
    options = parser.parse_args()
    dataset = read_dataset(options.dataset, folds=options.fold)
    results = {folder.name: measure(folder, dataset) for folder in options.bundle}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
