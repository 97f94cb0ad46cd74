"""The architecture of a checkpoint, read from the shapes of its weights.

Only what shapes cannot tell (attention heads of the text tower, epsilons, activations) is taken from a transformers
`config.json` where there is one, and is LAION's otherwise.
"""

from __future__ import annotations

import math
import re
from typing import Any, TypeVar

from claprt_export.architecture import AudioArchitecture, TextArchitecture
from claprt_export.checkpoints.weight_names import Weights
from claprt_export.errors import CheckpointError

Number = TypeVar("Number", int, float)
_HEAD_DIM = 64  # of RoBERTa, whatever its width


def audio_architecture(weights: Weights, config: dict[str, Any]) -> AudioArchitecture:
    """Sizes of the audio tower.

    Raises:
        KeyError: a weight that tells a size is missing.
        CheckpointError: the configuration states something that is not known here.
    """
    stated = config.get("audio_config") or {}
    _expect("audio_config", stated, hidden_act="gelu", projection_hidden_act="relu", layer_norm_eps=1e-5, mlp_ratio=4.0,
            spec_size=256, qkv_bias=True, enable_patch_layer_norm=True)  # fmt: skip
    patch = weights["audio_branch.patch_embed.proj.weight"]
    if patch.shape[1] != 1:
        raise CheckpointError(
            f"its patch embedding takes {patch.shape[1]} channels (fusion by channel_map), and this exporter knows aff_2d."
        )
    stages = _count(weights, r"audio_branch\.layers\.(\d+)\.")
    depths = tuple(_count(weights, rf"audio_branch\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(stages))
    tables = [weights[f"audio_branch.layers.{stage}.blocks.0.attn.relative_position_bias_table"] for stage in range(stages)]
    return AudioArchitecture(
        embed_dim=patch.shape[0],
        depths=depths,
        heads=tuple(table.shape[1] for table in tables),
        window=(math.isqrt(tables[0].shape[0]) + 1) // 2,
        patch=patch.shape[2],
        mels=weights["audio_branch.bn0.weight"].shape[0],
        fused="audio_branch.patch_embed.mel_conv2d.weight" in weights,
        joint_dim=weights["audio_projection.2.weight"].shape[0],
    )


def text_architecture(weights: Weights, config: dict[str, Any]) -> TextArchitecture:
    """Sizes of the text tower.

    Raises:
        KeyError: a weight that tells a size is missing.
        CheckpointError: it is a BERT, or the configuration states something that is not known here.
    """
    stated = config.get("text_config") or {}
    _expect("text_config", stated, hidden_act="gelu", projection_hidden_act="relu")
    words = weights["text_branch.embeddings.word_embeddings.weight"]
    if weights["text_branch.embeddings.token_type_embeddings.weight"].shape[0] != 1:
        raise CheckpointError("its text tower is BERT (two token types), and this exporter knows RoBERTa.")
    return TextArchitecture(
        vocabulary=words.shape[0],
        width=words.shape[1],
        layers=_count(weights, r"text_branch\.encoder\.layer\.(\d+)\."),
        heads=_stated(stated, "num_attention_heads", max(1, words.shape[1] // _HEAD_DIM), most=words.shape[1]),
        hidden=weights["text_branch.encoder.layer.0.intermediate.dense.weight"].shape[0],
        positions=weights["text_branch.embeddings.position_embeddings.weight"].shape[0],
        pad_token_id=_stated(stated, "pad_token_id", 1, least=0, most=words.shape[0] - 1),
        layer_norm_eps=_stated(stated, "layer_norm_eps", 1e-12 if stated else 1e-5, least=0, most=1),
        joint_dim=weights["text_projection.2.weight"].shape[0],
    )


def _stated(config: dict[str, Any], key: str, default: Number, *, least: float = 1, most: float) -> Number:
    """A number of a `config.json`, of the type of its default.

    Raises:
        CheckpointError: If the value has another type or is out of range.
    """
    found = config.get(key, default)
    fits = type(found) is type(default) or (type(found) is int and isinstance(default, float))
    if not fits or not least <= found <= most:
        raise CheckpointError(f"config.json states text_config.{key} = {found!r:.60}; {least} to {most} are possible.")
    return type(default)(found)


def _count(weights: Weights, pattern: str) -> int:
    """One more than the largest number that the pattern captures in a name.

    Raises:
        KeyError: no name matches.
    """
    numbers = [int(match[1]) for name in weights if (match := re.match(pattern, name))]
    if not numbers:
        raise KeyError(pattern.replace("\\", "").replace("(d+)", "N"))
    return max(numbers) + 1


def _expect(section: str, stated: dict[str, Any], **known: object) -> None:
    for key, value in known.items():
        if stated.get(key, value) != value:
            raise CheckpointError(
                f"config.json states {section}.{key} = {stated[key]!r:.60}, and this exporter knows only {value!r}."
            )
