"""The log-mel front end: every way that was considered, its time and its error, in one run with alternating trials.

    python benchmarks/front_end.py [--bundle FOLDER]

Ten seconds at a time on the machine's cores. The error is the largest difference in dB from a float64 reference, on a
full-scale sweep, wherever the reference is above -80 dB. With a bundle, it also times the audio tower right after a
product of the mel's size, once as numpy does it by default and once cut up as `claprt.audio.log_mel` does it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import claprt
from claprt.audio import log_mel as front_end
from claprt.audio.log_mel import hann_window, log_mel, mel_filters, native_bands, used_bins
from claprt.audio.preprocess import int16_round_trip
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.manifest import AudioConfig, MelSpec
from claprt_export.graphs.log_mel_graph import log_mel_graph
from claprt_export.graphs.onnx_metadata import IR_VERSION, OPSET

RATE, SAMPLES = 48_000, 480_000
SPEC = MelSpec()
GRAPH = "graph, 32 x 32 in float64 (log_mel.onnx)"
Run = Callable[[Any], Any]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", help="also time the audio tower beside numpy's products")
    parser.add_argument("--trials", type=int, default=40)
    options = parser.parse_args()

    seconds = np.arange(SAMPLES) / RATE
    sweep = np.sin(2 * np.pi * (50 * seconds + 690 * seconds**2)).astype(np.float32)
    levelled = int16_round_trip(sweep)  # as log_mel.onnx does by itself
    reference = log_mel(levelled, SPEC, "float64")
    heard = reference > -80
    ways: dict[str, Run] = {
        "numpy, transform in float64": numpy_bands,
        "numpy, transform in float32": lambda x: numpy_log_mel(x, np.float32),
        GRAPH: graph(log_mel_graph(AudioConfig(architecture="", mel=SPEC), OPSET)),
        "graph, one product in float32": graph(product_graph(np.float32)),
        "graph, one product in float64": graph(product_graph(np.float64)),
    }
    if native_bands(SPEC) is not None:
        ways["claprt-native, the same bits"] = lambda x: log_mel(x, SPEC)
    noise = SOUNDS["white noise"](SAMPLES, RATE)
    times = alternating({name: (lambda run=run: run(noise)) for name, run in ways.items()}, options.trials)
    print(f"{'':42} {'median ms':>10} {'error dB':>10}")
    for name, run in ways.items():
        error = np.abs(np.squeeze(run(sweep if name == GRAPH else levelled)) - reference)[heard].max()
        print(f"{name:42} {times[name]:10.2f} {error:10.1e}")
    if options.bundle:
        beside_products(claprt.load(options.bundle), noise, options.trials)


def beside_products(clap: claprt.Clap, noise: Any, trials: int) -> None:
    """The audio tower after each kind of product."""
    mel = log_mel(noise, SPEC)[None, None]
    power = np.random.default_rng(0).random((1008, 297), np.float32)
    filters = mel_filters(SPEC)[used_bins(SPEC)].astype(np.float32)
    products: dict[str, Run] = {
        "after one product of 1001 x 297 x 64": lambda _: power @ filters,
        "after the same in products of 12 frames": lambda _: power.reshape(-1, 12, 297) @ filters,
    }
    times: dict[str, list[float]] = {name: [] for name in products}
    for _ in range(trials):
        for name, product in products.items():
            product(None)
            started = time.perf_counter()
            clap.engine.audio(mel, None)
            times[name].append((time.perf_counter() - started) * 1000)
    print(f"\n{'audio tower of ' + clap.manifest.name:42} {'median ms':>10}")
    for name, taken in times.items():
        print(f"{name:42} {statistics.median(taken):10.1f}")


def alternating(runs: dict[str, Callable[[], Any]], trials: int) -> dict[str, float]:
    """Median milliseconds of each, one trial of all after the other."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for trial in range(-3, trials):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if trial >= 0:
                taken[name].append((time.perf_counter() - started) * 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


def numpy_bands(waveform: Any) -> Any:
    """`claprt.audio.log_mel` without claprt-native."""
    native, front_end.native_bands = front_end.native_bands, lambda _: None
    try:
        return log_mel(waveform, SPEC)
    finally:
        front_end.native_bands = native


def numpy_log_mel(waveform: Any, dtype: Any) -> Any:
    """The same with everything in one dtype, in the same blocks."""
    padded = np.pad(waveform.astype(dtype), SPEC.n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, SPEC.n_fft)[:: SPEC.hop]
    window, bins = hann_window(SPEC.n_fft).astype(dtype), used_bins(SPEC)
    spectra = [np.fft.rfft(frames[start : start + 60] * window)[:, bins] for start in range(0, len(frames), 60)]
    spectrum = np.concatenate(spectra)
    power = np.zeros((84, 12, bins.stop - bins.start), dtype)
    power.reshape(-1, power.shape[-1])[: len(spectrum)] = spectrum.real**2 + spectrum.imag**2
    mel = (power @ mel_filters(SPEC)[bins].astype(dtype)).reshape(-1, SPEC.mels)[: len(spectrum)]
    return 10 * np.log10(np.maximum(mel, SPEC.floor))


def graph(model: onnx.ModelProto) -> Run:
    """A graph on the CPU provider."""
    model.ir_version = IR_VERSION
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda waveform: session.run(None, {"waveforms": waveform[None]})[0]


def product_graph(dtype: Any) -> onnx.ModelProto:
    """The transform as one product with the windowed Fourier basis of the bins in use."""
    bins = used_bins(SPEC)
    angles = 2 * np.pi * np.outer(np.arange(SPEC.n_fft), np.arange(bins.start, bins.stop)) / SPEC.n_fft
    window = hann_window(SPEC.n_fft)[:, None]
    basis = np.concatenate([window * np.cos(angles), window * np.sin(angles)], axis=1).astype(dtype)
    filters = np.tile(mel_filters(SPEC)[bins], (2, 1)).astype(np.float32)
    rows = np.arange(SPEC.frames(SAMPLES))[:, None] * (SPEC.hop // 32) + np.arange(32)
    constants = {
        "backwards": np.array([-1]), "axis": np.array([1]), "left_from": np.array([512]), "left_to": np.array([0]),
        "right_from": np.array([SAMPLES - 2]), "right_to": np.array([SAMPLES - 514]), "grid": np.array([0, -1, 32]),
        "rows": rows, "flat": np.array([-1, SPEC.n_fft]), "basis": basis, "filters": filters,
        "floor": np.float32(SPEC.floor), "db": np.float32(10 / np.log(10)),
    }  # fmt: skip
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Slice", ["waveforms", "left_from", "left_to", "axis", "backwards"], "left", {}),
        ("Slice", ["waveforms", "right_from", "right_to", "axis", "backwards"], "right", {}),
        ("Concat", ["left", "waveforms", "right"], "padded", {"axis": 1}),
        ("Reshape", ["padded", "grid"], "gridded", {}),
        ("Gather", ["gridded", "rows"], "framed", {"axis": 1}),
        ("Reshape", ["framed", "flat"], "frames", {}),
        ("Cast", ["frames"], "wide", {"to": helper.np_dtype_to_tensor_dtype(np.dtype(dtype))}),
        ("MatMul", ["wide", "basis"], "spectrum", {}),
        ("Mul", ["spectrum", "spectrum"], "squares", {}),
        ("Cast", ["squares"], "narrow", {"to": TensorProto.FLOAT}),
        ("MatMul", ["narrow", "filters"], "mel", {}),
        ("Clip", ["mel", "floor"], "floored", {}),
        ("Log", ["floored"], "logarithm", {}),
        ("Mul", ["logarithm", "db"], "log_mels", {}),
    ]
    nodes = [helper.make_node(operator, inputs, [output], **extra) for operator, inputs, output, extra in steps]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "product",
            [helper.make_tensor_value_info("waveforms", TensorProto.FLOAT, ["batch", SAMPLES])],
            [helper.make_tensor_value_info("log_mels", TensorProto.FLOAT, [None, SPEC.mels])],
            initializer=[numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


if __name__ == "__main__":
    main()
