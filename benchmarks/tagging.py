"""What a tag's probability is worth at 0.5: calibrated, against neutral prompts, and sigmoid(scale * cosine).

python benchmarks/tagging.py [--bundle FOLDER] [--dataset FOLDER …] [--out FILE]

The sounds are synthesised with seeds that neither training nor calibration knows, and tagged in words that training used
and in words that it never saw; every other one is a mixture of two kinds. Labelled sets on disk can be added. Every tag of
a set is asked of every one of its sounds, and precision and recall are over all pairs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

import claprt  # noqa: E402
from claprt.errors import OptionError  # noqa: E402
from claprt.evaluation.calibration import shares, tags_of  # noqa: E402
from claprt.evaluation.dataset import Dataset  # noqa: E402
from claprt.evaluation.reading.read import read_dataset  # noqa: E402
from claprt.scoring.tagging import NEUTRAL_PROMPTS, tag_embedding  # noqa: E402
from claprt_export.mini.multilabel_set import write  # noqa: E402

THRESHOLD = 0.5


def measured(clap: claprt.Clap, dataset: Dataset) -> dict[str, Any]:
    """Precision, recall and F1 from 0.5 on, by each way to a probability."""
    names, truth = tags_of(dataset)
    sounds = clap.embed_audio([item.path for item in dataset.items])
    texts, neutral = clap.embed_labels(names), clap.embed_labels(NEUTRAL_PROMPTS)
    bare = replace(clap.manifest, tagging=None)

    def given(manifest: claprt.Manifest) -> np.ndarray[Any, Any]:
        rows = [tag_embedding(manifest, vector, texts, neutral, names).probabilities for vector in sounds]
        return np.stack(rows) >= THRESHOLD

    cosines = np.einsum("sd,td->st", sounds, texts)
    ways = {
        "calibrated": given(clap.manifest),
        "against neutral prompts": given(bare),
        "sigmoid(scale * cosine)": cosines * clap.manifest.logit_scale_a >= 0,
    }
    found = {name: shares(mask, truth) for name, mask in ways.items()}
    return {
        "sounds": len(sounds),
        "tags": len(names),
        "prevalence": float(truth.mean()),
        "ways": {name: {**asdict(of), "f1": of.f1} for name, of in found.items()},
    }


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description="What a tag's probability is worth.")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--sounds", type=int, default=400, help="synthesised sounds of each set (400)")
    parser.add_argument("--dataset", nargs="*", default=[], metavar="FOLDER|CSV", help="labelled sets to add")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "tagging.json")
    options = parser.parse_args()
    clap = claprt.load(options.bundle)
    if clap.manifest.tagging is None:
        raise OptionError(f"{options.bundle} is not calibrated: claprt calibrate --bundle {options.bundle} --dataset …")
    results: dict[str, Any] = {"bundle": clap.manifest.name, "calibration": asdict(clap.manifest.tagging), "sets": {}}
    with tempfile.TemporaryDirectory() as temporary:
        for name, wordings in (("trained wordings", "wordings"), ("unseen wordings", "held_out")):
            folder = Path(temporary) / wordings
            write(folder, options.sounds, f"test/{wordings}", wordings)
            results["sets"][f"synthesised, {name}"] = measured(clap, read_dataset(folder))
    for path in options.dataset:
        dataset = read_dataset(path)
        results["sets"][dataset.name] = measured(clap, dataset)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    from benchmarks.tables.vectors import tagging_table

    print(tagging_table(results))


if __name__ == "__main__":
    main()
