"""Seeded checkpoints give the vectors that laion-clap gave with the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import claprt
from claprt_export.architecture import AudioArchitecture, TextArchitecture
from claprt_export.checkpoints.checkpoint import read_checkpoint
from claprt_export.checkpoints.random_weights import ARCHITECTURES
from claprt_export.checkpoints.weight_names import NOT_NEEDED
from claprt_export.mini.model import AUDIO, TEXT
from claprt_export.pipeline import export_bundle
from claprt_export.towers import AudioTower, TextTower
from tests.golden.compare import assert_same_vectors, embedded, laion
from tests.golden.inputs import RATE, SEED, TEXTS, TINY_SOUNDS, sounds, weight

TINY = ARCHITECTURES["untrained-tiny"]


def checkpoint_file(folder: Path, audio: AudioArchitecture, text: TextArchitecture) -> Path:
    """A checkpoint in LAION's format with weights of `tests/golden/inputs.py`."""
    with torch.device("meta"):
        towers = (AudioTower(audio), TextTower(text))
    shapes = {name: tuple(tensor.shape) for tower in towers for name, tensor in tower.state_dict().items()}
    shapes = {name: shape for name, shape in shapes.items() if not NOT_NEEDED.fullmatch(name)}
    shapes |= {"logit_scale_a": (), "logit_scale_t": ()}
    state = {f"module.{name}": torch.from_numpy(weight(name, shape)) for name, shape in shapes.items()}
    torch.save({"state_dict": state}, folder / "seeded.pt")
    return folder / "seeded.pt"


@torch.inference_mode()
@pytest.mark.parametrize(
    ("architecture", "recorded"),
    [
        (replace(AUDIO, fused=True), "small-fused/audio"),
        (TINY, "tiny/audio"),
        (replace(TINY, fused=True), "tiny-fused/audio"),
    ],
    ids=["small-fused", "tiny", "tiny-fused"],
)
def test_audio_towers(
    architecture: AudioArchitecture, recorded: str, tmp_path: Path, bundle: Path, fused_bundle: Path
) -> None:
    """In torch, as the exporter reads them; of the long sound the crop or the views that laion-clap draws."""
    tower = read_checkpoint(checkpoint_file(tmp_path, architecture, replace(TEXT, vocabulary=261))).audio_tower()
    # a toy bundle, for its preparation of sounds alone
    clap = claprt.load(fused_bundle, seed=SEED) if architecture.fused else claprt.load(bundle, long="random", seed=SEED)
    names = TINY_SOUNDS if recorded.startswith("tiny") else tuple(sounds())
    for name, expected in zip(names, laion()[recorded], strict=True):
        sound = sounds()[name]
        (features,) = clap.audio_features(sound, None if isinstance(sound, bytes) else RATE)
        log_mels = torch.from_numpy(features.log_mels.copy())[None]
        found = tower(log_mels, torch.tensor([[features.is_longer]])) if architecture.fused else tower(log_mels)
        assert_same_vectors(found.numpy(), expected[None])


@torch.inference_mode()
def test_text_tower(tmp_path: Path, bundle: Path) -> None:
    """RoBERTa-base in torch, each text by itself; of its 50265 tokens those that the texts have."""
    tower = read_checkpoint(checkpoint_file(tmp_path, AUDIO, TextArchitecture(vocabulary=261))).text_tower()
    encoded = claprt.load(bundle).tokenizer.encode(TEXTS)  # the same tokenizer
    ids = [torch.tensor([row]) for row in encoded]
    found = torch.cat([tower(row, torch.ones_like(row)) for row in ids])
    assert_same_vectors(found.numpy(), laion()["tiny/text"])


def exported(folder: Path, audio: AudioArchitecture, text: TextArchitecture, tokenizer: Path) -> Path:
    """A bundle of such a checkpoint."""
    export_bundle(folder / "bundle", checkpoint=checkpoint_file(folder, audio, text), tokenizer=tokenizer)
    return folder / "bundle"


@pytest.mark.slow
def test_htsat_tiny(tmp_path: Path, tokenizer_file: Path) -> None:
    clap = claprt.load(exported(tmp_path, TINY, TextArchitecture(), tokenizer_file), long="random", seed=SEED)
    assert_same_vectors(embedded(clap, TINY_SOUNDS), laion()["tiny/audio"])
    assert_same_vectors(clap.embed_text(TEXTS), laion()["tiny/text"])


@pytest.mark.slow
def test_htsat_tiny_fused(tmp_path: Path, tokenizer_file: Path) -> None:
    """Sounds only, so the text tower is a small one."""
    bundle = exported(tmp_path, replace(TINY, fused=True), replace(TEXT, vocabulary=261), tokenizer_file)
    clap = claprt.load(bundle, seed=SEED)
    assert_same_vectors(embedded(clap, TINY_SOUNDS), laion()["tiny-fused/audio"])
