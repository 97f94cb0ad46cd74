"""Make `laion.npz` with laion-clap 1.1.7's own code, in the environment that `make setup WHAT=reference` builds.

    .venv-reference/bin/python -m tests.golden.make

The models, the audio features and the checkpoint's text tokens are computed by laion-clap from the sounds, texts and
weights of `tests/golden/inputs.py` and from the published weights of `mini`. Nothing is computed with claprt.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from claprt_export.checkpoints.tokenizer import byte_level_tokenizer
from tests.golden.inputs import FRAMES, SEED, TEXTS, TINY_SOUNDS, WINDOW, WINDOW_STARTS, sounds, weight
from tests.parity.reference import ROBERTA, import_laion, laion_module

FOLDER = Path(__file__).parent
MINI = FOLDER.parents[1] / "export" / "claprt_export" / "mini" / "weights"
Array = np.ndarray[Any, Any]


def htsat_tiny(*, fused: bool) -> Any:
    """laion-clap's `CLAP_Module` for HTSAT-tiny, with weights of `tests/golden/inputs.py`."""
    return _seeded(_module(_byte_level(), fused=fused))


def small(tokenizer: Path, *, fused: bool, vocabulary: int) -> Any:
    """laion-clap's `CLAP_Module` with its two towers in the sizes of `mini`."""
    module = _module(tokenizer, fused=fused)
    model, config = module.model, module.model.audio_cfg
    model.audio_branch = type(model.audio_branch)(
        embed_dim=32, depths=[2, 2, 2, 2], num_heads=[2, 4, 8, 16], config=config, num_classes=config.class_num,
        enable_fusion=fused, fusion_type="aff_2d" if fused else "None",
    )  # fmt: skip
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
    roberta = ROBERTA | sizes | {"vocab_size": vocabulary, "max_position_embeddings": 80}
    model.text_branch = transformers.RobertaModel(transformers.RobertaConfig(**roberta))
    model.audio_projection[0] = nn.Linear(256, 512)
    model.text_projection[0] = nn.Linear(128, 512)
    return module


def mini() -> Any:
    """The same with the published weights of `mini`."""
    module = small(MINI, fused=False, vocabulary=2000)
    stored = torch.load(MINI / "mini.pt", weights_only=True)["state_dict"]
    return _filled(module, {name.removeprefix("module."): tensor for name, tensor in stored.items()})


def small_fused() -> Any:
    """A fused one, with weights of `tests/golden/inputs.py`."""
    return _seeded(small(_byte_level(), fused=True, vocabulary=261))


def _module(tokenizer: Path, *, fused: bool) -> Any:
    return laion_module("HTSAT-tiny", fused=fused, tokenizer=tokenizer)


def _byte_level() -> Path:
    folder = Path(tempfile.mkdtemp())
    byte_level_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _seeded(module: Any) -> Any:
    state = module.model.state_dict()
    names = [name for name, tensor in state.items() if tensor.is_floating_point() and not _is_constant(name)]
    return _filled(module, {name: torch.from_numpy(weight(name, tuple(state[name].shape))) for name in names})


def _is_constant(name: str) -> bool:
    return "spectrogram_extractor" in name or "logmel_extractor" in name or name.endswith("attn_mask")


def _filled(module: Any, weights: dict[str, torch.Tensor]) -> Any:
    """The module with these weights; what is left out may only be what no embedding depends on."""
    unused = ("tscam_conv", "branch.head.", "_transform.", "relative_position_index", "num_batches_tracked", "position_ids")
    left = module.model.load_state_dict(weights, strict=False)
    needed = [name for name in left.missing_keys if not _is_constant(name) and not any(part in name for part in unused)]
    if left.unexpected_keys or needed:
        raise RuntimeError(f"unexpected {left.unexpected_keys}, missing {needed}")
    return module.eval()


def audio_vectors(module: Any, names: Iterable[str]) -> Array:
    """laion-clap's vectors [sounds, 512] by its public methods, each sound by itself."""
    made = sounds()
    return np.stack([_vector(module, made[name]) for name in names])


def _vector(module: Any, sound: Any) -> Array:
    np.random.seed(SEED)
    if not isinstance(sound, bytes):
        return module.get_audio_embedding_from_data([sound])[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sound.wav"
        file.write_bytes(sound)
        return module.get_audio_embedding_from_filelist([str(file)])[0]


def windows_vector(module: Any) -> Array:
    """The mean [1, 512], at length 1, of laion-clap's vectors of the windows of the long sound."""
    long = sounds()["long"]
    mean = np.mean([_vector(module, long[start : start + WINDOW]) for start in WINDOW_STARTS], axis=0, dtype=np.float64)
    return (mean / np.linalg.norm(mean))[None]


@contextlib.contextmanager
def _float64() -> Generator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@torch.no_grad()
def log_mels(module: Any) -> Array:
    """laion-clap's log-mels [sounds, len(FRAMES) + 1, mels] of the sounds of up to a window, the mean of all frames last.

    Its front ends are built and run in float64: in float32, as they run by default, they are off by more than the
    tolerance where a bin is far below the loudest.
    """
    data = import_laion().training.data
    config, branch = module.model_cfg["audio_cfg"], module.model.audio_branch
    rows: list[Array] = []
    with _float64():
        front_end = type(branch)(config=branch.config)  # whose filters and transform come from the config alone
        for sound in sounds().values():
            if isinstance(sound, bytes) or len(sound) > WINDOW:
                continue
            levelled = torch.from_numpy(data.int16_to_float32(data.float32_to_int16(sound))).double()
            features = data.get_audio_features({}, levelled, WINDOW, "fusion", "repeatpad", config)
            if module.enable_fusion:
                mel = features["mel_fusion"][0]
            else:
                mel = front_end.logmel_extractor(front_end.spectrogram_extractor(features["waveform"][None]))[0, 0]
            if mel.dtype != torch.float64:
                raise RuntimeError(f"computed in {mel.dtype}")
            rows.append(torch.cat([mel[list(FRAMES)], mel.mean(0, keepdim=True)]).numpy())
    return np.stack(rows)


def main() -> None:
    """Write `laion.npz`."""
    model = mini()
    made = {
        "log-mel/slaney": log_mels(model),
        "mini/audio": audio_vectors(model, sounds()),
        "mini/windows": windows_vector(model),
        "mini/text": model.get_text_embedding(list(TEXTS)),
    }
    model = small_fused()
    made |= {"log-mel/htk": log_mels(model), "small-fused/audio": audio_vectors(model, sounds())}
    model = htsat_tiny(fused=False)
    made |= {"tiny/audio": audio_vectors(model, TINY_SOUNDS), "tiny/text": model.get_text_embedding(list(TEXTS))}
    made["tiny-fused/audio"] = audio_vectors(htsat_tiny(fused=True), TINY_SOUNDS)
    np.savez_compressed(FOLDER / "laion.npz", **{key: np.asarray(value, np.float32) for key, value in made.items()})


if __name__ == "__main__":
    main()
