"""Untrained weights from a seed, for the real cost of a checkpoint with nothing downloaded.

They have the names and shapes of the published files and a scale at which activations neither vanish nor explode, so
everything downstream (export, parity, latency) runs as it would. Their vectors mean nothing, and whatever shows them
says so.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from claprt.bundle.manifest import MelSpec
from claprt_export.architecture import AudioArchitecture, TextArchitecture
from claprt_export.checkpoints.checkpoint import INITIAL_LOGIT_SCALE, Checkpoint, digest_of_weights
from claprt_export.checkpoints.weight_names import Weights
from claprt_export.towers import AudioTower, TextTower

ARCHITECTURES = {
    "untrained-tiny": AudioArchitecture(embed_dim=96, depths=(2, 2, 6, 2), heads=(4, 8, 16, 32)),
    "untrained-base": AudioArchitecture(embed_dim=128, depths=(2, 2, 12, 2), heads=(4, 8, 16, 32)),
}


def seeded_checkpoint(name: str, audio: AudioArchitecture, text: TextArchitecture, *, seed: int = 0) -> Checkpoint:
    """Build a checkpoint of two architectures with weights drawn from a seed.

    Args:
        name: of the checkpoint.
        audio: architecture of the audio tower.
        text: architecture of the text tower.
        seed: of torch's random numbers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        towers = (AudioTower(audio), TextTower(text))
        for tower in towers:
            _enliven(tower)
    initial = torch.tensor(math.log(INITIAL_LOGIT_SCALE))
    weights: Weights = {name: tensor.detach() for tower in towers for name, tensor in tower.state_dict().items()} | {
        "logit_scale_a": initial,
        "logit_scale_t": initial.clone(),
    }
    mel = MelSpec(scale="htk", norm="none") if audio.fused else MelSpec()
    return Checkpoint(
        name=name, layout="seeded", sha256=digest_of_weights(weights), weights=weights, audio=audio, text=text, mel=mel
    )


@torch.no_grad()
def _enliven(tower: nn.Module) -> None:
    """Replace the parts of torch's default initialisation that would make every input look alike."""
    for name, parameter in tower.named_parameters():
        if name.endswith("relative_position_bias_table"):
            parameter.normal_(std=0.5)
        elif name.endswith("bias"):
            parameter.normal_(std=0.05)
    for name, buffer in tower.named_buffers():
        if name.endswith("bn0.running_mean"):
            buffer.normal_(mean=-30.0, std=5.0)  # dB, as of ordinary sounds
        elif name.endswith("bn0.running_var"):
            buffer.fill_(20.0**2)
