"""laion-clap 1.1.7 and transformers as they are installed, made to work offline and given seeded weights.

laion-clap fetches three tokenizers when imported and RoBERTa's weights when constructed; here its `from_pretrained` calls
get the classes' own constructors instead. Nothing else of it is replaced: the modules, the audio features, the checkpoint
loading and the public `CLAP_Module` methods are the package's own.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

ROBERTA = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}


@cache
def import_laion() -> Any:
    """The package `laion_clap`, imported without a network."""
    _make_torchvision_import()
    _make_torchaudio_import()
    with offline(None), contextlib.redirect_stdout(io.StringIO()):
        import laion_clap
    return laion_clap


@cache
def _make_torchvision_import() -> torch.library.Library:
    """Torchvision's compiled part does not load beside a CPU build of torch; the schemas that it would register do."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _make_torchaudio_import() -> None:
    """The same for torchaudio: its transforms are Python, and its compiled part is only probed for."""
    if "torchaudio" in sys.modules:
        return
    extension = types.ModuleType("torchaudio._extension")
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
    extension._IS_ALIGN_AVAILABLE = False  # type: ignore[attr-defined]
    extension.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
    sys.modules["torchaudio._extension"] = extension


@contextlib.contextmanager
def offline(tokenizer: Path | None) -> Iterator[None]:
    """Lets `from_pretrained` build RoBERTa from its published sizes, and its tokenizer from a folder."""
    import transformers

    def model(cls: Any, *_: Any, **__: Any) -> Any:
        return cls(transformers.RobertaConfig(**ROBERTA))

    def tokens(cls: Any, name: str, *_: Any, **__: Any) -> Any:
        return transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(tokenizer / "tokenizer.json"), pad_token="<pad>", bos_token="<s>", eos_token="</s>"
        ) if tokenizer is not None and "roberta" in name else None  # fmt: skip

    classes = {transformers.RobertaTokenizer, transformers.BertTokenizer, transformers.BartTokenizer}
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(transformers.RobertaModel, "from_pretrained", classmethod(model)))
        for cls in classes:
            stack.enter_context(mock.patch.object(cls, "from_pretrained", classmethod(tokens)))
        yield


def laion_module(amodel: str, *, fused: bool, tokenizer: Path | None) -> Any:
    """A `CLAP_Module` on the CPU with freshly initialised weights."""
    package = import_laion()
    with offline(tokenizer), contextlib.redirect_stdout(io.StringIO()):
        return package.CLAP_Module(enable_fusion=fused, amodel=amodel, device="cpu").eval()


@torch.no_grad()
def enliven(module: nn.Module, seed: int) -> None:
    """Moves freshly initialised weights to where trained ones are, so that inputs are told apart and biases matter."""
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: torch.Tensor, scale: float) -> torch.Tensor:
        return torch.randn(tensor.shape, generator=generator) * scale

    for name, parameter in module.named_parameters():
        if "spectrogram_extractor" in name or "logmel_extractor" in name:
            continue
        if name.endswith("relative_position_bias_table"):
            parameter.add_(noise(parameter, 0.3))
        elif parameter.ndim >= 2 and "embeddings" not in name:
            parameter.add_(noise(parameter, 0.6 / math.sqrt(parameter[0].numel())))
        elif parameter.ndim == 1:
            parameter.add_(noise(parameter, 0.05))
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(noise(buffer, 5.0) - 30.0 if "bn0" in name or "batch_norm" in name else noise(buffer, 0.1))
        elif name.endswith("running_var"):
            buffer.fill_(400.0 if "bn0" in name or "batch_norm" in name else 1.3)


def save_published(module: Any, path: Path) -> None:
    """Writes the weights as LAION publishes them: a training checkpoint of a wrapped module, with optimizer state.

    The published files carry `position_ids`, which today's transformers no longer has, and numpy scalars.
    """
    state = {f"module.{name}": tensor for name, tensor in module.model.state_dict().items()}
    state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    optimizer = {"state": {0: {"step": 5, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    checkpoint = {
        "epoch": 15,
        "name": "seeded",
        "state_dict": state,
        "optimizer": optimizer,
        "top_1": np.float64(0.9),
        "best": np.float32(0.5),
    }
    torch.save(checkpoint, path)


def load_published(module: Any, path: Path) -> None:
    """Has laion-clap read the file itself."""
    with contextlib.redirect_stdout(io.StringIO()):
        module.load_ckpt(str(path), verbose=False)


class Transformers:
    """`ClapModel` with `ClapFeatureExtractor`."""

    def __init__(self, folder: Path, *, fused: bool, seed: int) -> None:
        """Makes a model with seeded weights and saves it as the hub's folders are."""
        import transformers

        torch.manual_seed(seed)
        audio = {"enable_fusion": fused, "fusion_type": "aff_2d" if fused else "None"}
        config = transformers.ClapConfig(audio_config=audio, text_config={})
        self.model = transformers.ClapModel(config).eval()
        enliven(self.model, seed)
        self.extractor = transformers.ClapFeatureExtractor(frequency_min=50, truncation="fusion" if fused else "rand_trunc")
        self.model.save_pretrained(folder)
        self.extractor.save_pretrained(folder)

    @torch.inference_mode()
    def audio(self, waveform: np.ndarray[Any, Any], seed: int | None = None) -> np.ndarray[Any, Any]:
        """The unit vector of one waveform at 48 kHz, by itself."""
        if seed is not None:
            np.random.seed(seed)
        features = self.extractor(waveform, sampling_rate=48_000, return_tensors="pt")
        features["input_features"] = features["input_features"].float()
        return _unit(self.model.get_audio_features(**features))

    @torch.inference_mode()
    def text(self, ids: list[int]) -> np.ndarray[Any, Any]:
        """The unit vector of one text's token ids, padded to 77."""
        input_ids = torch.tensor([ids + [1] * (77 - len(ids))])
        mask = torch.tensor([[1] * len(ids) + [0] * (77 - len(ids))])
        return _unit(self.model.get_text_features(input_ids=input_ids, attention_mask=mask))


def _unit(features: Any) -> np.ndarray[Any, Any]:
    vector = getattr(features, "pooler_output", features)
    return nn.functional.normalize(vector, dim=-1).numpy()


def transformers_model(folder: Path, *, fused: bool, seed: int) -> Transformers:
    """A transformers reference whose folder has been written."""
    import_laion()  # only for the packages that it makes importable
    return Transformers(folder, fused=fused, seed=seed)
