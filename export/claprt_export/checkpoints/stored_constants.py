"""What a checkpoint holds beside its weights and the graphs do not take from it, because it follows from the architecture.

Mel filters, the transform, positions, masks and indices of attention: where a file holds them they have to be what is
computed here, since it was trained with them. Another value would give other vectors without a word.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from claprt.arrays import Array
from claprt.audio.log_mel import hann_window, mel_filters
from claprt.bundle.manifest import MelSpec
from claprt_export.architecture import AudioArchitecture
from claprt_export.checkpoints.weight_names import Weights
from claprt_export.errors import CheckpointError
from claprt_export.towers import window_order

_FRONT_END = {
    "logmel_extractor.melW": "mel filters",
    "spectrogram_extractor.stft.conv_real.weight": "transform",
    "spectrogram_extractor.stft.conv_imag.weight": "transform",
}
"""What LAION's files hold of their front end, by name within the audio branch."""


def check_stored_constants(name: str, weights: Weights, audio: AudioArchitecture, mel: MelSpec) -> None:
    """Compare the constants that a checkpoint holds with those that follow from its architecture.

    Args:
        name: of the checkpoint, for the message.
        weights: under canonical names.
        audio: sizes of the audio tower.
        mel: the front end that is assumed.

    Raises:
        CheckpointError: one has another value.
    """
    if not audio.fused:  # a fused one is given log-mels that were made outside of it
        _check_front_end(name, weights, mel)
    for key, expected in _attention(audio):
        stored = weights.get(key)
        if stored is None or (key.endswith("attn_mask") and _is_mask(stored, expected)):
            continue
        if key.endswith("attn_mask") or not _same(stored, expected):
            what = "an attention mask" if key.endswith("attn_mask") else "positions in its attention"
            raise CheckpointError(
                f"{name} holds {what} of its own ({key} {tuple(stored.shape)}), and the towers compute with those of "
                f"{audio.name}. It was trained on another architecture, which is not known here."
            )
    positions = weights.get("text_branch.embeddings.position_ids")
    if positions is not None and not _same(positions.flatten(), np.arange(positions.numel())):
        raise CheckpointError(f"{name} numbers the positions of its tokens otherwise than RoBERTa does (position_ids).")
    types = weights.get("text_branch.embeddings.token_type_ids")
    if types is not None and bool(types.any()):
        raise CheckpointError(f"{name} has more than one type of tokens (token_type_ids), and RoBERTa has one.")


def _check_front_end(name: str, weights: Weights, mel: MelSpec) -> None:
    if not any(f"audio_branch.{key}" in weights for key in _FRONT_END):
        return
    filters = mel_filters(mel)
    bins, samples = np.arange(mel.n_fft // 2 + 1)[:, None], np.arange(mel.n_fft)[None]
    angles = 2 * np.pi / mel.n_fft * (bins * samples % mel.n_fft)
    window = hann_window(mel.n_fft)
    computed = (filters, (window * np.cos(angles))[:, None], (window * np.sin(angles))[:, None])
    for (key, what), expected in zip(_FRONT_END.items(), computed, strict=True):
        stored = weights.get(f"audio_branch.{key}")
        tolerance = 1e-5 if key.endswith("melW") else 1e-3
        if stored is not None and not (_near(stored, expected, tolerance) or _near(-stored, expected, tolerance)):
            raise CheckpointError(
                f"{name} was trained on another front end: the {what} stored in it {tuple(stored.shape)} are not those of "
                f"a {mel.n_fft}-point transform, {mel.f_min:g} to {mel.f_max:g} Hz, Slaney. Only LAION's own front end is "
                "known here."
            )


def _attention(audio: AudioArchitecture) -> Iterator[tuple[str, Array]]:
    """Names and values of the constants of each block."""
    for stage, depth in enumerate(audio.depths):
        window = min(audio.window, audio.side // 2**stage)
        rows, columns = audio.grid(audio.bands)
        grid = rows // 2**stage, columns // 2**stage
        index = window_order.relative_position_index(window, window_order.window_of(grid, window))
        plain = np.zeros_like(mask := window_order.shift_mask(grid, window))
        for block in range(depth):
            prefix = f"audio_branch.layers.{stage}.blocks.{block}"
            yield f"{prefix}.attn.relative_position_index", index
            yield f"{prefix}.attn_mask", mask if block % 2 else plain


def _is_mask(stored: Tensor, expected: Array) -> bool:
    """Whether scores are masked where they have to be; how far below 0 they are makes no difference from 50 on."""
    found = stored.float().numpy()
    if found.shape != expected.shape:
        return False
    return bool((np.where(expected < 0, found <= -50, found == 0)).all())


def _same(stored: Tensor, expected: Array) -> bool:
    return tuple(stored.shape) == expected.shape and bool((stored.numpy() == expected).all())


def _near(stored: Tensor, expected: Array, tolerance: float) -> bool:
    if tuple(stored.shape) != expected.shape:
        return False
    return bool(np.abs(stored.float().numpy() - expected).max() <= tolerance * expected.max())
