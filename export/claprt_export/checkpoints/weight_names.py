"""Names of weights: from each published layout to the one used here, and what is known not to be needed.

The names used here are those of LAION's `.pt` files without `module.` in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor

Weights = dict[str, Tensor]

_TRANSFORMERS_AUDIO = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^audio_model\.audio_encoder\.", "audio_branch."),
        (r"\.batch_norm\.", ".bn0."),
        (r"\.attention\.self\.", ".attn."),
        (r"\.attention\.output\.dense\.", ".attn.proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
    )
)
_TRANSFORMERS_REST = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^text_model\.", "text_branch."),
        (r"^(audio|text)_projection\.linear1\.", r"\1_projection.0."),
        (r"^(audio|text)_projection\.linear2\.", r"\1_projection.2."),
    )
)
_QUERY = re.compile(r"^(audio_branch\..*\.attn)\.query\.(weight|bias)$")

_NOT_NEEDED = (
    # the front end, which is computed here from its definition
    r"audio_branch\.spectrogram_extractor\..*",
    r"audio_branch\.logmel_extractor\..*",
    # follows from the architecture
    r"audio_branch\.layers\.\d+\.blocks\.\d+\.(attn_mask|attn\.relative_position_index)",
    r"text_branch\.embeddings\.(position_ids|token_type_ids)",
    # the classification heads of HTSAT, which do not reach the embedding
    r"audio_branch\.(tscam_conv|head)\..*",
    # MLPs of the training loss, not part of the embedding
    r"(audio|text)_transform\..*",
    # counters of training
    r".*\.num_batches_tracked",
)

NOT_NEEDED = re.compile("|".join(_NOT_NEEDED))
"""Weights that a checkpoint may hold or lack without any effect on the towers."""


def canonical(weights: Weights) -> Weights:
    """Weights under LAION's names, whichever published layout they came in, with query, key and value in one."""
    if weights and all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    if not is_transformers_layout(weights):
        return weights
    renamed = {_rename(name): tensor for name, tensor in weights.items()}
    for name in list(renamed):
        if match := _QUERY.match(name):
            block, kind = match.groups()
            parts = [f"{block}.{part}.{kind}" for part in ("query", "key", "value")]
            if all(part in renamed for part in parts):
                renamed[f"{block}.qkv.{kind}"] = torch.cat([renamed.pop(part) for part in parts])
    return renamed


def is_transformers_layout(names: Iterable[str]) -> bool:
    """Whether these are the names that `ClapModel` of transformers saves."""
    return any(name.startswith("audio_model.") for name in names)


def _rename(name: str) -> str:
    rules = _TRANSFORMERS_AUDIO if name.startswith("audio_model.") else _TRANSFORMERS_REST
    for pattern, replacement in rules:
        name = pattern.sub(replacement, name)
    return name


_OTHER_MODELS = (
    (r"audio_branch\.conv_block1\.", "its audio tower is a PANN, and this exporter knows HTSAT"),
    (r"text_branch\.shared\.", "its text tower is BART, and this exporter knows RoBERTa"),
    (r"(text_branch\.resblocks|positional_embedding$)", "its text tower is CLIP's, and this exporter knows RoBERTa"),
    (r"audio_branch\.mel_conv1d\.", "it fuses long clips in one dimension (aff_1d), and this exporter knows aff_2d"),
    (r".*fusion_model\.local_att2\.", "it fuses long clips iteratively (iaff_2d), and this exporter knows aff_2d"),
    (r"(caption_encoder|audio_encoder\.base)\.", "it is Microsoft's CLAP, not LAION's"),
    (r"(vision_model|visual)\.", "it is a CLIP of images, not of sounds"),
)


def other_model(names: Iterable[str]) -> str | None:
    """What a checkpoint is, if it is one of the neighbours that people mistake for a CLAP with HTSAT and RoBERTa."""
    names = list(names)
    for pattern, what in _OTHER_MODELS:
        if any(re.match(pattern, name) for name in names):
            return what
    return None
