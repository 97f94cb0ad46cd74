"""The log-mel front end as an ONNX graph: waveforms [batch, samples] to log-mels [batch, views, frames, mels] in dB.

Built node by node from the same `MelSpec` and the same filters as `claprt.audio.log_mel`, for servers that take waveforms.
It begins with LAION's levels (clipped to [-1, 1], through 16 bits and back), so that a server gives a waveform the vector
that it has in process. A waveform that has been through them is not changed again, and NaN or infinity become NaN in the
log-mel.

A Fourier transform as one matrix product costs 1.2 GFLOP for ten seconds. Here the 1024 points are split into 32 x 32:
with n = 32·i + j and k = p + 32·q,

    X[p + 32·q] = Σ_j  e^(-2πi·j·(p + 32·q)/1024) · A_p[j],     A_p[j] = Σ_i  e^(-2πi·i·p/32) · x[32·i + j],

so a product with a 32-point transform, one transpose, and a batch of 17 small products give every bin (A_(32-p) is the
conjugate of A_p, so p runs to 16 only). That is a quarter of the arithmetic, few enough operations to do them in
float64: less time than the single product takes in float32, and an error near 1e-5 dB instead of 6e-2 dB where a mel is
100 dB below the loudest (`benchmarks/front_end.py` measures both). Bins outside the mel range are never computed, and
frames are gathered from rows of 32 samples, since both the hop and the transform are multiples of 32.

Only operators that every provider has are used. TensorRT demotes float64 to float32 when it parses the graph.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from claprt.audio.log_mel import hann_window, mel_filters, used_bins
from claprt.bundle.manifest import AudioConfig, MelSpec

_RADIX = 32


class _Graph:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, output: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output


def log_mel_graph(facts: AudioConfig, opset: int) -> onnx.ModelProto:
    """The graph for one window of `facts.window_samples`; the batch is dynamic.

    A fused bundle's graph gives four equal views, which is what such a checkpoint sees of a clip of one window or less, and
    `is_longer`, False, which the audio tower takes beside them.

    Raises:
        ValueError: If the transform or the hop does not fit the grid of the graph.
    """
    spec = facts.mel
    if spec.n_fft != _RADIX**2 or spec.hop % _RADIX or facts.window_samples % _RADIX:
        raise ValueError(f"the graph is for {_RADIX**2}-point transforms on a grid of {_RADIX} samples; got {spec}")
    graph = _Graph()
    frames = _windowed_frames(graph, facts)
    power = _power_spectrum(graph, frames, spec)
    log_mels = _decibels(graph, power, facts)
    outputs = [helper.make_tensor_value_info(log_mels, TensorProto.FLOAT, ["batch", facts.views, facts.frames, spec.mels])]
    if facts.fused:
        outputs.append(helper.make_tensor_value_info(_never_longer(graph), TensorProto.BOOL, ["batch", 1]))
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "log_mel",
            [helper.make_tensor_value_info("waveforms", TensorProto.FLOAT, ["batch", facts.window_samples])],
            outputs,
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
    )


def _never_longer(graph: _Graph) -> str:
    """[batch, 1] bool, False: a waveform of one window is not longer than one."""
    bounds = [graph.constant(name, np.array([value])) for name, value in (("first", 0), ("second", 1), ("columns", 1))]
    column = graph.add("Slice", "one_sample", "waveforms", *bounds)
    return graph.add("Greater", "is_longer", column, graph.constant("infinity", np.array(np.inf, np.float32)))


def _levelled(graph: _Graph) -> str:
    """[batch, samples] float32 as `claprt.audio.preprocess.int16_round_trip` has it."""
    largest = graph.constant("int16_largest", np.array(32767.0, np.float32))
    limits = [graph.constant(name, np.array(value, np.float32)) for name, value in (("lowest", -1.0), ("highest", 1.0))]
    clipped = graph.add("Clip", "clipped", "waveforms", *limits)
    scaled = graph.add("Mul", "int16_scaled", clipped, largest)
    size = graph.add("Floor", "int16_size", graph.add("Abs", "int16_unsigned", scaled))
    whole = graph.add("Mul", "int16_values", graph.add("Sign", "int16_sign", scaled), size)
    levelled = graph.add("Div", "int16_round_trip", whole, largest)
    nothing = graph.add("Sub", "zero_if_finite", "waveforms", "waveforms")  # NaN must not become a number
    return graph.add("Add", "levelled", levelled, nothing)


def _windowed_frames(graph: _Graph, facts: AudioConfig) -> str:
    """[batch, frames, i, j] float64, the window applied."""
    waveforms = _levelled(graph)
    spec, half = facts.mel, facts.mel.n_fft // 2
    samples, rows = facts.window_samples, _RADIX
    axis = graph.constant("sample_axis", np.array([1]))
    backwards = graph.constant("backwards", np.array([-1]))
    left = graph.add(
        "Slice", "left_reflection", waveforms,
        graph.constant("left_from", np.array([half])), graph.constant("left_to", np.array([0])), axis, backwards,
    )  # fmt: skip
    right = graph.add(
        "Slice", "right_reflection", waveforms,
        graph.constant("right_from", np.array([samples - 2])), graph.constant("right_to", np.array([samples - 2 - half])),
        axis, backwards,
    )  # fmt: skip
    padded = graph.add("Concat", "reflected", left, waveforms, right, axis=1)
    grid = graph.add("Reshape", "grid", padded, graph.constant("grid_shape", np.array([0, -1, rows])))
    starts = np.arange(facts.frames) * (spec.hop // rows)
    index = graph.constant("frame_rows", starts[:, None] + np.arange(rows))
    framed = graph.add("Gather", "frames", grid, index, axis=1)
    wide = graph.add("Cast", "frames_float64", framed, to=TensorProto.DOUBLE)
    window = graph.constant("window", hann_window(spec.n_fft).reshape(rows, rows))
    return graph.add("Mul", "windowed", wide, window)


def _power_spectrum(graph: _Graph, frames: str, spec: MelSpec) -> str:
    """[17, batch · frames, columns] float64: squares of real and imaginary parts, in the order of `_columns`."""
    half = _RADIX // 2 + 1
    first = graph.add("MatMul", "first_transform", graph.constant("first_basis", _first_basis()), frames)
    split = graph.add("Reshape", "first_split", first, graph.constant("first_shape", np.array([-1, half, 2 * _RADIX])))
    by_residue = graph.add("Transpose", "by_residue", split, perm=[1, 0, 2])
    second = graph.add("MatMul", "second_transform", by_residue, graph.constant("second_basis", _second_basis(spec)))
    return graph.add("Mul", "power", second, second)


def _decibels(graph: _Graph, power: str, facts: AudioConfig) -> str:
    spec = facts.mel
    columns = len(_columns(spec)[0]) * (_RADIX // 2 + 1)
    narrow = graph.add("Cast", "power_float32", power, to=TensorProto.FLOAT)
    by_frame = graph.add("Transpose", "power_by_frame", narrow, perm=[1, 0, 2])
    flat = graph.add("Reshape", "power_flat", by_frame, graph.constant("power_shape", np.array([-1, columns])))
    mel = graph.add("MatMul", "mel_power", flat, graph.constant("mel_basis", _mel_basis(spec)))
    floored = graph.add("Clip", "mel_floored", mel, graph.constant("floor", np.array(spec.floor, np.float32)))
    logarithm = graph.add("Log", "mel_log", floored)
    decibels = graph.add("Mul", "decibels", logarithm, graph.constant("to_db", np.array(10 / math.log(10), np.float32)))
    shape = np.array([-1, 1, facts.frames, spec.mels])
    one = graph.add(
        "Reshape", "log_mels" if facts.views == 1 else "one_view", decibels, graph.constant("view_shape", shape)
    )
    if facts.views == 1:
        return one
    copies = graph.constant("view_copies", np.array([1, facts.views, 1, 1]))
    return graph.add("Expand", "log_mels", one, copies)


def _first_basis() -> NDArray[np.float64]:
    """Real and imaginary rows, in turn, of the 32-point transform for p = 0 … 16: [34, 32]."""
    angles = -2 * np.pi * np.outer(np.arange(_RADIX // 2 + 1), np.arange(_RADIX)) / _RADIX
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).reshape(-1, _RADIX)


def _columns(spec: MelSpec) -> list[list[int | None]]:
    """For each p, the bin that each pair of columns (real, imaginary) of the second product holds; None where unused.

    The first half of the columns are the bins p + 32·q, the second half those of the conjugate residue, 32 - p + 32·q.
    """
    bins = used_bins(spec)
    rounds = range(bins.stop // _RADIX + 1)

    def used(residue: int) -> list[int | None]:
        candidates = [residue + _RADIX * q for q in rounds]
        return [k if bins.start <= k < bins.stop else None for k in candidates]

    table: list[list[int | None]] = []
    for p in range(_RADIX // 2 + 1):
        mirrored: list[int | None] = [None for _ in rounds] if p in (0, _RADIX // 2) else used(_RADIX - p)
        table.append([k for k in used(p) + mirrored for _ in range(2)])
    return table


def _second_basis(spec: MelSpec) -> NDArray[np.float64]:
    """[17, 64, columns]: from the real and imaginary parts of A_p[j] to those of the bins in `_columns`."""
    j = np.arange(_RADIX)
    table = _columns(spec)
    basis = np.zeros((len(table), 2 * _RADIX, len(table[0])))
    for p, columns in enumerate(table):
        for column, k in enumerate(columns):
            if k is None:
                continue
            angle = -2 * np.pi * j * k / spec.n_fft
            sign = 1.0 if column < len(columns) // 2 else -1.0  # the second half works on the conjugate of A_p
            real, imaginary = (np.cos(angle), np.sin(angle))
            parts = (real, -sign * imaginary) if column % 2 == 0 else (imaginary, sign * real)
            basis[p, :, column] = np.concatenate(parts)
    return basis


def _mel_basis(spec: MelSpec) -> NDArray[np.float32]:
    """[17 · columns, mels]: each bin's filter weights on both of its squares."""
    filters = mel_filters(spec)
    rows = [np.zeros(spec.mels) if k is None else filters[k] for columns in _columns(spec) for k in columns]
    return np.stack(rows).astype(np.float32)
