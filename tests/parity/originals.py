"""Programs that score generated sound, made to run on a laion-clap module that is at hand.

fadtk, kadtk and frechet-audio-distance are the packages themselves; only what downloads checkpoints, and torchaudio's
reading and writing of files, whose compiled part is not here, are replaced. audiocraft, stable-audio-metrics and sam-audio
are not packages that can be installed beside laion-clap; their steps are done with the libraries that they call.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import types
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import torch


def _read(file: Any, **_: Any) -> tuple[torch.Tensor, int]:
    samples, rate = soundfile.read(str(file), dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


def _write(file: Any, samples: torch.Tensor, rate: int, **_: Any) -> None:
    """16 bits by rounding, as FFmpeg does, which torchaudio writes files with."""
    whole = np.clip(np.rint(samples.numpy().T.astype(np.float64) * 32768), -32768, 32767).astype(np.int16)
    soundfile.write(str(file), whole, rate, subtype="PCM_16")


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Progress bars and notes are not shown."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def with_tokenizer(module: Any, bundle: Path) -> Any:
    """The module; without RoBERTa's tokenizer at hand it takes the one of the bundle."""
    import transformers

    if module.tokenize is None:
        module.tokenize = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(bundle / "tokenizer.json"), pad_token="<pad>", bos_token="<s>", eos_token="</s>"
        )
    return module


class Toolkit:
    """fadtk or kadtk on a laion-clap module."""

    def __init__(self, package: str, module: Any) -> None:
        import torchaudio

        self.package = importlib.import_module(package)
        loader = importlib.import_module(f"{package}.model_loader").CLAPLaionModel
        self.model = object.__new__(loader)
        self.model.name, self.model.sr, self.model.num_features, self.model.min_len = "clap-laion-audio", 48_000, 512, -1
        self.model.type, self.model.audio_len = "audio", None
        self.model.device = torch.device("cpu")
        self.model.model = module
        self._files = mock.patch.multiple(torchaudio, load=_read, save=_write, create=True)

    def embed(self, folder: Path) -> None:
        """Write the vectors of every file of a folder beside it, as the package does."""
        if self.package.__name__ == "fadtk":
            owner = importlib.import_module("fadtk.fad").FrechetAudioDistance(self.model, load_model=False)
        else:
            owner = importlib.import_module("kadtk.emb_loader").EmbeddingLoader(self.model, load_model=False)
        with self._files, quiet(), torch.no_grad():
            for file in sorted(folder.glob("*.*")):
                owner.cache_embedding_file(file)


def fadtk_distance(toolkit: Toolkit, reference: Path, candidate: Path) -> float:
    """`FrechetAudioDistance.score` of two folders that were embedded."""
    distance = importlib.import_module("fadtk.fad").FrechetAudioDistance(toolkit.model, load_model=False)
    with quiet():
        return float(np.real(distance.score(reference, candidate)))


def fadtk_infinite(toolkit: Toolkit, reference: Path, candidate: Path, seed: int) -> float:
    """`FrechetAudioDistance.score_inf`, right after `numpy.random.seed(seed)`."""
    distance = importlib.import_module("fadtk.fad").FrechetAudioDistance(toolkit.model, load_model=False)
    files = sorted(candidate.glob("*.*"))
    np.random.seed(seed)
    with quiet():
        return float(distance.score_inf(reference, files).score)


def kadtk_vectors(folder: Path) -> Any:
    """The vectors that kadtk wrote for the sounds of a folder, [rows, dim] float16."""
    return np.concatenate([np.load(file) for file in sorted((folder / "embeddings").rglob("*.npy"))])


def kadtk_distance(reference: Any, candidate: Any, precision: str) -> float:
    """`calc_kernel_audio_distance` of vectors, as kadtk's `score` calls it with float32."""
    kernel = importlib.import_module("kadtk.kad")
    sets = torch.tensor(reference), torch.tensor(candidate)
    cpu = torch.device("cpu")
    return float(kernel.calc_kernel_audio_distance(*sets, (None, None), cpu, precision=getattr(torch, precision)))


def frechet_audio_distance(module: Any) -> Any:
    """The package's `CLAPScore` and `FrechetAudioDistance` on a module."""
    # for another of its models
    sys.modules.setdefault("encodec", types.SimpleNamespace(EncodecModel=None))  # type: ignore[arg-type]
    score = object.__new__(importlib.import_module("frechet_audio_distance.clap_score").CLAPScore)
    distance = object.__new__(importlib.import_module("frechet_audio_distance.fad").FrechetAudioDistance)
    for each in (score, distance):
        each.model, each.device, each.verbose, each.sample_rate = module, torch.device("cpu"), False, 48_000
    distance.model_name, distance.channels, distance.audio_load_worker = "clap", 1, 1
    load = importlib.import_module("frechet_audio_distance.utils").load_audio_task
    return score, distance, load


def _cosines(audio: torch.Tensor, text: torch.Tensor) -> list[float]:
    return torch.nn.functional.cosine_similarity(audio, text, dim=1, eps=1e-8).tolist()


@torch.no_grad()
def audiocraft(module: Any, files: Sequence[Path], texts: Sequence[str]) -> list[float]:
    """`CLAPTextConsistencyMetric.update` with one sound in each batch."""
    import julius

    found: list[float] = []
    for file, text in zip(files, texts, strict=True):
        samples, rate = _read(file)
        mono = julius.resample_frac(samples[None], rate, 48_000).mean(dim=-2, keepdim=True).mean(dim=1)
        audio = module.get_audio_embedding_from_data(mono, use_tensor=True)
        found += _cosines(audio, module.get_text_embedding([text], use_tensor=True))
    return found


@torch.no_grad()
def stable_audio_metrics(module: Any, files: Sequence[Path], texts: Sequence[str]) -> list[float]:
    """`clap_score`, on the CPU."""
    import librosa
    import pyloudnorm

    hook = sys.modules[type(module).__module__]
    found: list[float] = []
    for file, text in zip(files, texts, strict=True):
        audio = pyloudnorm.normalize.peak(librosa.load(file, sr=48_000, mono=True)[0], -1.0).reshape(1, -1)
        tensor = torch.from_numpy(hook.int16_to_float32(hook.float32_to_int16(audio))).float()
        vectors = module.get_audio_embedding_from_data(x=tensor, use_tensor=True)
        found += _cosines(vectors, module.get_text_embedding([text], use_tensor=True))
    return found


@torch.no_grad()
def sam_audio(module: Any, files: Sequence[Path], texts: Sequence[str]) -> list[float]:
    """`ClapRanker.forward` with one candidate for each text."""
    import torchaudio

    data = importlib.import_module("laion_clap.training.data")
    found: list[float] = []
    for file, text in zip(files, texts, strict=True):
        samples, rate = _read(file)
        candidates = samples.mean(dim=0, keepdim=True)
        if rate != 48_000:
            candidates = torchaudio.functional.resample(candidates, rate, 48_000)
        quantised = data.int16_to_float32_torch(data.float32_to_int16_torch(candidates)).float()
        sound = data.get_audio_features(
            {}, quantised[0], 480_000, data_truncating="fusion" if module.enable_fusion else "rand_trunc",
            data_filling="repeatpad", audio_cfg=module.model_cfg["audio_cfg"], require_grad=False,
        )  # fmt: skip
        audio = module.model.get_audio_embedding([sound])
        found.append(float((audio * module.get_text_embedding([text], use_tensor=True)).sum()))
    return found


@torch.no_grad()
def laion(module: Any, files: Sequence[Path], texts: Sequence[str]) -> list[float]:
    """`get_audio_embedding_from_filelist`, a file at a time."""
    return [
        _cosines(
            module.get_audio_embedding_from_filelist([str(file)], use_tensor=True),
            module.get_text_embedding([text], use_tensor=True),
        )[0]
        for file, text in zip(files, texts, strict=True)
    ]
