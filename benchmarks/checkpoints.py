"""The models of the benchmark, made by the references themselves: run in their environment by `bench.py`.

python benchmarks/checkpoints.py --work FOLDER --size tiny|base [--tokenizer FOLDER]

Seeded weights in LAION's published layout, a transformers folder of the same sizes, and what plain `torch.onnx.export`
makes of that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from claprt_export.checkpoints.tokenizer import byte_level_tokenizer  # noqa: E402
from tests.parity.reference import enliven, import_laion, laion_module, save_published  # noqa: E402

SIZES = {
    "tiny": {"depths": [2, 2, 6, 2], "patch_embeds_hidden_size": 96, "hidden_size": 768},
    "base": {"depths": [2, 2, 12, 2], "patch_embeds_hidden_size": 128, "hidden_size": 1024},
}


class _Audio(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_features: torch.Tensor) -> torch.Tensor:
        found = self.model.get_audio_features(input_features=input_features)
        return torch.nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1)


class _Text(_Audio):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        found = self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        return torch.nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1)


def main() -> None:
    """Write what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", choices=list(SIZES), required=True)
    parser.add_argument("--tokenizer", type=Path)
    options = parser.parse_args()
    work, size = options.work, options.size
    warnings.simplefilter("ignore")
    tokenizer = work / "tokenizer"
    if not tokenizer.exists():
        tokenizer.mkdir(parents=True)
        if options.tokenizer is not None:
            shutil.copy(options.tokenizer / "tokenizer.json", tokenizer)
            (tokenizer / "roberta").touch()
        else:
            byte_level_tokenizer().save(str(tokenizer / "tokenizer.json"))
    if not (work / f"{size}.pt").exists():
        module = laion_module(f"HTSAT-{size}", fused=False, tokenizer=tokenizer)
        enliven(module.model, seed=1)
        save_published(module, work / f"{size}.part")
        (work / f"{size}.part").rename(work / f"{size}.pt")
    naive = work / f"naive-{size}"
    if not (naive / "complete").exists():
        model = _transformers(work / f"transformers-{size}", SIZES[size])
        _export(model, naive, tokenizer / "tokenizer.json")


def _transformers(folder: Path, sizes: dict[str, object]) -> torch.nn.Module:
    import_laion()
    import transformers

    torch.manual_seed(3)
    config = transformers.ClapConfig(audio_config={**sizes, "fusion_type": "None"}, text_config={})
    model = transformers.ClapModel(config).eval()
    enliven(model, 3)
    model.save_pretrained(folder)
    transformers.ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc").save_pretrained(folder)
    return model


def _export(model: torch.nn.Module, folder: Path, tokenizer: Path) -> None:
    from clapback_embed import artifacts

    folder.mkdir(parents=True, exist_ok=True)
    tokens = torch.full((2, 9), 5, dtype=torch.int64)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=512)}
    with torch.inference_mode():
        torch.onnx.export(
            _Audio(model), (torch.zeros(1, 1, 1001, 64) - 50,), folder / "clap_audio.onnx",
            input_names=["input_features"], output_names=["vector"], external_data=False, verbose=False,
        )  # fmt: skip
        torch.onnx.export(
            _Text(model), (tokens, torch.ones_like(tokens)), folder / "clap_text.onnx", dynamic_shapes=(axes, axes),
            input_names=["input_ids", "attention_mask"], output_names=["vector"], external_data=False, verbose=False,
        )  # fmt: skip
    for kind, wanted in (("audio", artifacts.AUDIO_FP32), ("text", artifacts.TEXT_FP32)):
        if not (folder / wanted).exists():
            (folder / wanted).symlink_to(f"clap_{kind}.onnx")
    shutil.copy(tokenizer, folder / "tokenizer.json")
    (folder / "complete").write_text(json.dumps({"torch": torch.__version__}), encoding="utf-8")


if __name__ == "__main__":
    main()
