"""One engine in one process, for `bench.py`: loads, then answers each line of JSON with another.

python benchmarks/worker.py ENGINE --work FOLDER --size tiny|base

Every engine is called as its own documentation has it, from waveform or file to vector. The references run in their own
environment (`make setup WHAT=reference`), with the packages' own code and seeded weights.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.cases import RATE, labels, sounds, write_files  # noqa: E402

Calls = dict[str, Callable[[Any], Any]]
"""By what they take: `sounds` (a list at 48 kHz), `slow` (one sound at 16 kHz), `files`, `texts`."""


def claprt_engine(options: argparse.Namespace, provider: str, precision: str) -> tuple[Calls, dict[str, str]]:
    """This project."""
    import claprt

    clap = claprt.load(options.work / f"bundle-{options.size}", provider=provider, precision=precision)
    facts = {"provider": clap.provider, "precision": str(clap.precision)}
    return {
        "sounds": clap.embed_audio,
        "slow": lambda waveform: clap.embed_audio(waveform, sample_rate=16_000)[None],
        "files": clap.embed_audio,
        "texts": clap.embed_text,
    }, facts


def laion_engine(options: argparse.Namespace) -> tuple[Calls, dict[str, str]]:
    """laion-clap, eager."""
    import torch

    from tests.parity.reference import laion_module, load_published

    torch.set_num_threads(options.threads)
    module = laion_module(f"HTSAT-{options.size}", fused=False, tokenizer=options.work / "tokenizer")
    load_published(module, options.work / f"{options.size}.pt")

    def slow(waveform: Any) -> Any:
        import librosa

        return module.get_audio_embedding_from_data(librosa.resample(waveform, orig_sr=16_000, target_sr=RATE)[None])

    def texts(found: list[str]) -> Any:
        if len(found) == 1:  # its text branch cannot take one text, and its README says to add one
            return module.get_text_embedding([*found, ""])[:1]
        return module.get_text_embedding(found)

    def of_files(paths: list[str]) -> Any:  # its own call stacks all files at once; eight at a time need less memory
        parts = [paths[start : start + 8] for start in range(0, len(paths), 8)]
        return np.concatenate([module.get_audio_embedding_from_filelist(part) for part in parts])

    def of_sounds(waveforms: list[Any]) -> Any:
        parts = [waveforms[start : start + 16] for start in range(0, len(waveforms), 16)]
        return np.concatenate([module.get_audio_embedding_from_data(np.stack(part)) for part in parts])

    return {"sounds": of_sounds, "slow": slow, "files": of_files, "texts": texts}, {"precision": "fp32"}


def transformers_engine(options: argparse.Namespace, *, compiled: bool = False) -> tuple[Calls, dict[str, str]]:
    """Transformers with its feature extractor; eager, or compiled in bfloat16."""
    import torch
    import transformers

    from tests.parity.reference import import_laion

    import_laion()  # makes torchvision importable
    torch.set_num_threads(options.threads)
    folder = options.work / f"transformers-{options.size}"
    model = transformers.ClapModel.from_pretrained(folder).eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    tokenizer = _tokenizer(options)
    lowered: Any = torch.autocast("cpu", torch.bfloat16) if compiled else contextlib.nullcontext()
    tower: Any = torch.compile(model.get_audio_features) if compiled else model.get_audio_features
    branch: Any = torch.compile(model.get_text_features, dynamic=True) if compiled else model.get_text_features

    @torch.inference_mode()
    def of_sounds(waveforms: list[Any]) -> Any:
        parts: list[Any] = []
        step = 1 if compiled else 16  # it would be compiled again for every size of batch, which takes minutes
        for start in range(0, len(waveforms), step):
            features = extractor(waveforms[start : start + step], sampling_rate=RATE, return_tensors="pt")
            with lowered:
                parts.append(_unit(tower(features["input_features"].float())))
        return np.concatenate(parts)

    @torch.inference_mode()
    def texts(found: list[str]) -> Any:
        ids, mask = _padded(tokenizer, found)
        with lowered:
            return _unit(branch(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)))

    slow, files = _through_librosa(of_sounds)
    calls: Calls = {"sounds": of_sounds, "slow": slow, "files": files, "texts": texts}
    return calls, {"precision": "bf16" if compiled else "fp32"}


def naive_engine(options: argparse.Namespace) -> tuple[Calls, dict[str, str]]:
    """What `torch.onnx.export` makes of transformers' model, on onnxruntime as it is, with transformers' extractor."""
    import onnxruntime
    import transformers

    from tests.parity.reference import import_laion

    import_laion()
    folder = options.work / f"naive-{options.size}"
    extractor = transformers.ClapFeatureExtractor.from_pretrained(options.work / f"transformers-{options.size}")
    tokenizer = _tokenizer(options)
    audio, text = (onnxruntime.InferenceSession(str(folder / f"clap_{kind}.onnx")) for kind in ("audio", "text"))

    def of_sounds(waveforms: list[Any]) -> Any:
        rows: list[Any] = []
        for waveform in waveforms:  # the batch is baked into the graph
            features = extractor(waveform, sampling_rate=RATE, return_tensors="np")["input_features"]
            rows.append(audio.run(None, {"input_features": features.astype(np.float32)})[0])
        return np.concatenate(rows)

    def texts(found: list[str]) -> Any:
        ids, mask = _padded(tokenizer, found)
        return text.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    slow, files = _through_librosa(of_sounds)
    return {"sounds": of_sounds, "slow": slow, "files": files, "texts": texts}, {"precision": "fp32"}


def clapback_engine(options: argparse.Namespace) -> tuple[Calls, dict[str, str]]:
    """clapback-embed's pipeline on the same exported graph."""
    os.environ["CLAPBACK_MODEL_DIR"] = str(options.work / f"naive-{options.size}")
    import clapback_embed
    import huggingface_hub

    def tokenizer_file(*_: object, **__: object) -> str:
        return str(options.work / "tokenizer" / "tokenizer.json")

    huggingface_hub.hf_hub_download = tokenizer_file  # it would fetch RoBERTa's, which is this one

    def of_sounds(waveforms: list[Any]) -> Any:
        return np.array([clapback_embed.embed_audio(waveform) for waveform in waveforms])

    def slow(waveform: Any) -> Any:
        import soxr

        return of_sounds([soxr.resample(waveform, 16_000, RATE)])

    def of_files(paths: list[str]) -> Any:
        return np.array([clapback_embed.embed_file(path) for path in paths])

    def texts(found: list[str]) -> Any:
        return np.array([clapback_embed.embed_text(text) for text in found])

    return {"sounds": of_sounds, "slow": slow, "files": of_files, "texts": texts}, {"precision": "fp32"}


def _through_librosa(of_sounds: Callable[[list[Any]], Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """How users of transformers resample and read files."""

    def slow(waveform: Any) -> Any:
        import librosa

        return of_sounds([librosa.resample(waveform, orig_sr=16_000, target_sr=RATE)])

    def files(paths: list[str]) -> Any:
        import librosa

        return np.concatenate([of_sounds([librosa.load(path, sr=RATE)[0]]) for path in paths])

    return slow, files


def _unit(features: Any) -> Any:
    vector = getattr(features, "pooler_output", features).float().numpy()
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def _tokenizer(options: argparse.Namespace) -> Any:
    import tokenizers

    return tokenizers.Tokenizer.from_file(str(options.work / "tokenizer" / "tokenizer.json"))


def _padded(tokenizer: Any, texts: list[str]) -> tuple[Any, Any]:
    """Padded to the longest, as transformers' own processor does."""
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    longest = max(map(len, ids))
    padded = np.array([row + [1] * (longest - len(row)) for row in ids], np.int64)
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in ids], np.int64)
    return padded, mask


ENGINES: dict[str, Callable[[argparse.Namespace], tuple[Calls, dict[str, str]]]] = {
    "laion-clap": laion_engine,
    "transformers": transformers_engine,
    "torch.compile bf16": lambda options: transformers_engine(options, compiled=True),
    "naive export": naive_engine,
    "clapback-embed": clapback_engine,
    **{
        f"claprt {provider} {precision}": lambda options, pair=(provider, precision): claprt_engine(options, *pair)
        for provider, precision in (
            ("cpu", "fp32"), ("cpu", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"),
            ("native", "int8"),
            ("auto", "auto"),
        )
    },
}  # fmt: skip
"""Every engine by the name in the table."""


def _peak_mb() -> float:
    """The most memory that this process has held, in 10^6 bytes; Linux only."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def main() -> None:
    """Load the engine and answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=list(ENGINES))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", choices=["tiny", "base"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--files", type=int, default=0)
    options = parser.parse_args()
    replies, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no reply

    def reply(**found: Any) -> None:
        print(json.dumps(found), file=replies, flush=True)

    started = time.perf_counter()
    try:
        calls, facts = ENGINES[options.engine](options)
        ten = sounds(1, 10)
        calls["sounds"](ten)
    except Exception as error:  # noqa: BLE001 - it is reported, and the benchmark goes on without this engine
        reply(error=f"{type(error).__name__}: {error}"[:400])
        return
    reply(facts=facts, ready_s=time.perf_counter() - started, peak_mb=_peak_mb())
    words = (options.work / "tokenizer" / "roberta").exists()
    files = [str(path) for path in write_files(options.work / "files", options.files)]
    work: dict[str, Callable[[], Any]] = {
        "1 s": lambda: calls["slow"](sounds(1, 1, 16_000)[0]),
        "10 s": lambda: calls["sounds"](ten),
        "batch 10": lambda: calls["sounds"](sounds(10, 10)),
        "batch 64": lambda: calls["sounds"](sounds(64, 10)),
        "files": lambda: calls["files"](files),
        "1 label": lambda: calls["texts"](labels(1, words=words)),
        "64 labels": lambda: calls["texts"](labels(64, words=words)),
        "check": lambda: calls["sounds"](sounds(6, 10)),
    }
    prepared: dict[str, Any] = {}
    for line in sys.stdin:
        case = json.loads(line)["case"]
        if case in ("1 s", "batch 10", "batch 64") and case not in prepared:  # making the sounds is not what is timed
            count, seconds, rate = {"1 s": (1, 1, 16_000), "batch 10": (10, 10, RATE), "batch 64": (64, 10, RATE)}[case]
            prepared[case] = made = sounds(count, seconds, rate)
            work[case] = (
                (lambda made=made: calls["slow"](made[0])) if case == "1 s" else lambda made=made: calls["sounds"](made)
            )
        with contextlib.redirect_stdout(io.StringIO()):
            started = time.perf_counter()
            try:
                vectors = work[case]()
            except Exception as error:  # noqa: BLE001 - as above
                reply(error=f"{type(error).__name__}: {error}"[:400])
                continue
            took = time.perf_counter() - started
        reply(ms=1000 * took, peak_mb=_peak_mb(), vectors=np.asarray(vectors)[:6].tolist())


if __name__ == "__main__":
    main()
