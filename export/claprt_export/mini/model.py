"""The two small towers, in LAION's architecture and under LAION's names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import tokenizers
import torch
from tokenizers import models, pre_tokenizers, trainers
from torch import Tensor, nn

from claprt.audio.log_mel import mel_filters
from claprt.bundle.manifest import MelSpec
from claprt_export.architecture import AudioArchitecture, TextArchitecture
from claprt_export.checkpoints.tokenizer import BOS, EOS, MASK, PAD, UNK, roberta
from claprt_export.towers import AudioTower, TextTower

AUDIO = AudioArchitecture(embed_dim=32, depths=(2, 2, 2, 2), heads=(2, 4, 8, 16))
"""A head is 16 wide, so that the scale of the attention is a power of two and survives float16."""

VOCABULARY = 2000

TEXT = TextArchitecture(vocabulary=VOCABULARY, width=128, layers=2, heads=2, hidden=512, positions=80)

LENGTHS: dict[int, int] = {1: 257, 2: 513, 4: 1001}
"""Frames of a log-mel for images of one, two and four bands: 2.56, 5.12 and 10 s."""


class Mini(nn.Module):
    """Both towers and the logit scale; the audio tower in three lengths that share their weights."""

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        """Initialise both towers; `mean` and `variance` [mels] of log-mels in dB are those of the input normalisation."""
        super().__init__()
        self.text = TextTower(TEXT)
        self.audio = AudioTower(AUDIO, frames=LENGTHS[4], bands=4)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        _initialise(self)
        norm = self.audio.audio_branch.bn0
        norm.get_buffer("running_mean").copy_(mean)
        norm.get_buffer("running_var").copy_(variance)
        self.lengths = {4: self.audio} | {bands: _sharing(self.audio, bands) for bands in (1, 2)}

    def embed_audio(self, mels: Tensor, bands: int) -> Tensor:
        """[batch, frames, mels] in dB to unit vectors [batch, 512]."""
        return self.lengths[bands](mels[:, None])

    def embed_text(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """[batch, tokens] twice to unit vectors [batch, 512]."""
        return self.text(token_ids, mask)

    @property
    def scale(self) -> Tensor:
        """Factor [] of cosines in the logits, at most 100 as in CLIP."""
        return self.logit_scale.clamp(max=math.log(100.0)).exp()


def _sharing(tower: AudioTower, bands: int) -> AudioTower:
    """A tower for a shorter image with the very parameters of the given one."""
    shorter = AudioTower(AUDIO, frames=LENGTHS[bands], bands=bands)
    for name, module in tower.named_modules():
        twin = shorter.get_submodule(name)
        for key, parameter in module.named_parameters(recurse=False):
            setattr(twin, key, parameter)
        if isinstance(module, nn.BatchNorm2d):
            for key in ("running_mean", "running_var"):
                twin.register_buffer(key, module.get_buffer(key))
    return shorter


@torch.no_grad()
def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if "bias" in dict(module.named_parameters()):
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
    for name, parameter in model.named_parameters():
        if name.endswith("relative_position_bias_table"):
            nn.init.normal_(parameter, std=0.02)


def is_block_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a matrix [out, in] inside the transformer blocks, which Muon trains."""
    inside = ".blocks." in name or ".downsample." in name or ".encoder." in name or "pooler" in name
    return inside and parameter.ndim == 2 and not name.endswith("relative_position_bias_table")


def train_tokenizer(texts: Iterable[str]) -> tokenizers.Tokenizer:
    """A byte-level BPE with RoBERTa's special tokens, learnt from these texts."""
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 1,
        special_tokens=[BOS, PAD, EOS, UNK],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learnt = tokenizers.Tokenizer(models.BPE(unk_token=UNK))
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learnt.train_from_iterator(texts, trainer)
    tokenizer = roberta(learnt.model)
    assert tokenizer.token_to_id(MASK) is not None
    return tokenizer


def _rounded(key: str, tensor: Tensor) -> Tensor:
    """A weight in float16; queries such that the scale folded into them, a power of two, leaves float16 values."""
    if not tensor.is_floating_point():
        return tensor
    if key.endswith((".attn.qkv.weight", ".attn.qkv.bias")):
        queries, others = tensor.tensor_split([len(tensor) // 3])
        return torch.cat([_scaled(queries, AUDIO.embed_dim // AUDIO.heads[0]), others.half()])
    if key.endswith((".self.query.weight", ".self.query.bias")):
        return _scaled(tensor, TEXT.width // TEXT.heads)
    return tensor.half()


def _scaled(queries: Tensor, head: int) -> Tensor:
    scale = head**-0.5
    return ((queries * scale).half().float() / scale).half()


def save_checkpoint(file: Path, weights: dict[str, Tensor]) -> None:
    """Write weights of `Mini` (name to tensor [...]) as a LAION `.pt` in float16.

    The scales and counters stay what LAION's files have; the mel filters of the front end are stored too, as there.
    """
    state: dict[str, Tensor] = {
        "logit_scale_a": weights["logit_scale"].float(),
        "logit_scale_t": weights["logit_scale"].float(),
    }
    for name, tensor in weights.items():
        tower, _, key = name.partition(".")
        if tower in ("audio", "text") and key:
            state[key] = _rounded(key, tensor)
    state["audio_branch.logmel_extractor.melW"] = torch.from_numpy(mel_filters(MelSpec())).float()
    torch.save(
        {
            "name": "mini",
            "epoch": 0,
            "state_dict": {f"module.{name}": tensor.contiguous() for name, tensor in state.items()},
        },
        file,
    )
