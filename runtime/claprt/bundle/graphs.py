"""What a manifest says of graphs: which stage, which precision, which tensors, and how good they were found to be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from claprt._moved import restore


class Precision(StrEnum):
    """Arithmetic of a graph. A bundle holds `fp32` and whatever else it was exported with.

    `int8`, `int8-symmetric` (with the zero point 0, as TensorRT wants it) and `fp16` are graphs of their own. `bf16` is the
    fp32 graph, run by a provider that rounds products to bfloat16.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    INT8_SYMMETRIC = "int8-symmetric"


class Stage(StrEnum):
    """The three graphs of a bundle."""

    LOG_MEL = "log_mel"
    AUDIO = "audio"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a graph; a string in `shape` is a dynamic axis."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphInfo:
    """One graph: its file, its interface, and what the file must hash to."""

    file: str
    sha256: str
    bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """A file of the bundle that is not a graph."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """What one comparison of a graph with its torch original measured when the bundle was exported."""

    graph: str
    precision: Precision
    against: str
    cases: int
    max_abs: float
    max_abs_limit: float
    min_cosine: float | None = None
    """None for the log-mel, which has no direction."""
    min_cosine_limit: float | None = None


NATIVE_FILE = "audio.int8.native"
"""The audio tower's packed weights for the native engine, made from its graph in int8."""
PROJECTION_FILE = "projection.onnx"
PROJECTION_INPUT, PROJECTION_OUTPUT = "embeddings", "behavior_descriptors"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionInfo:
    """A learned projection of embeddings to behaviour descriptors in [0, 1], put into a bundle after its export."""

    graph: GraphInfo
    input_dim: int
    output_dim: int
    activation: str
    """Between the layers. Checkpoints do not state it: what stands here is what was assumed."""
    source: str
    """Name of the checkpoint that the graph was made from."""
    source_sha256: str
    parity: ParityReport

    def __post_init__(self) -> None:
        found = [(tensor.name, tensor.dtype, tensor.shape) for tensor in (*self.graph.inputs, *self.graph.outputs)]
        stated = [
            (PROJECTION_INPUT, "float32", ("batch", self.input_dim)),
            (PROJECTION_OUTPUT, "float32", ("batch", self.output_dim)),
        ]
        if found != stated:
            raise ValueError(f"{self.graph.file} does not take {self.input_dim} numbers and give {self.output_dim}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """A paired test of a share of right answers: the same sounds with the lowered graph and in fp32."""

    changed: float
    """Mean square of the change of a sound's answers, each from 0 to 1; asked once, the share of sounds that changed."""
    worst: float
    """Lower confidence bound of the change of the share, lowered minus fp32."""
    confidence: float
    """Of that bound, one-sided."""
    chance: float
    """p-value of fp32's right answers if they were chance."""
    chance_limit: float
    """Largest p-value that is taken for more than chance."""

    @property
    def signal(self) -> bool:
        """Whether fp32 is better than chance, so that there is something to lose."""
        return self.chance <= self.chance_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """Results of a labelled set with a graph in a lowered precision, the other tower in fp32. Shares from 0 to 1."""

    dataset: str
    sounds: int
    top1: float | None = None
    """Zero-shot top-1; None where the set has no classes."""
    top1_fp32: float | None = None
    recall5: float | None = None
    """Share of sounds among the first five for a text of theirs, other right sounds left out; None without texts.

    In bundles of 0.1.0 the share of texts with a right sound among the first five.
    """
    recall5_fp32: float | None = None
    limit: float
    """Smallest change of either that is accepted."""
    top1_test: PairedTest | None = None
    """None in bundles of 0.1.0, where the change itself was compared with the limit."""
    recall5_test: PairedTest | None = None
    """The same for `recall5`."""

    __setstate__ = restore

    @property
    def change(self) -> float:
        """The worse of the two changes, lowered minus fp32."""
        pairs = ((self.top1, self.top1_fp32), (self.recall5, self.recall5_fp32))
        return min((low - full for low, full in pairs if low is not None and full is not None), default=0.0)

    @property
    def signal(self) -> bool:
        """Whether the set decides: not if fp32 itself is at chance on it."""
        tests = self._tests
        return not tests or any(test.signal for test in tests)

    @property
    def accepted(self) -> bool:
        """Whether a loss above the limit is excluded, for every share in which fp32 is better than chance."""
        if not self._tests:
            return self.change >= self.limit
        return all(test.worst >= self.limit for test in self._tests if test.signal)

    @property
    def summary(self) -> str:
        """The shares in one line, with those of fp32."""
        shares = (
            ("top-1", self.top1, self.top1_fp32, self.top1_test),
            ("R@5", self.recall5, self.recall5_fp32, self.recall5_test),
        )
        parts: list[str] = []
        for name, low, full, test in shares:
            if low is None or full is None:
                continue
            finding = ""
            if test is not None and test.signal:
                finding = f", at worst {100 * test.worst:+.1f} points"
            elif test is not None:
                finding = f", no better than chance: p = {test.chance:.3f}"
            parts.append(f"{name} {100 * low:.1f} % (fp32 {100 * full:.1f} %{finding})")
        return f"{', '.join(parts)} of {self.sounds} {self.dataset}"

    @property
    def _tests(self) -> list[PairedTest]:
        return [test for test in (self.top1_test, self.recall5_test) if test is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """How good a graph in a lowered precision was found to be when the bundle was exported."""

    graph: Stage
    precision: Precision
    engine: str
    """What ran it to find out."""
    inputs: int
    """Sounds or texts that the cosines are of; other ones than those that ranges were taken from."""
    centred_cosine: float
    """Mean over these of the cosine between the vector and its fp32 original, the mean fp32 vector subtracted from both."""
    centred_cosine_min: float
    centred_cosine_limit: float
    """Smallest mean that is accepted."""
    tasks: tuple[TaskReport, ...] = ()
    """Empty for untrained weights."""

    @property
    def accepted(self) -> bool:
        """Whether it is good enough to be chosen without being asked for."""
        return self.centred_cosine >= self.centred_cosine_limit and all(task.accepted for task in self.tasks)

    @property
    def by_cosine_alone(self) -> bool:
        """Whether the cosine alone decides: no tasks, or fp32 is at chance in all of them."""
        return not any(task.signal for task in self.tasks)

    @property
    def summary(self) -> str:
        """The quality in one line, and whether it is accepted."""
        cosine = f"{self.centred_cosine:.4f} (worst {self.centred_cosine_min:.4f}, limit {self.centred_cosine_limit})"
        parts = [f"{self.graph:5} {self.precision} on {self.engine}: centred cosine {cosine}"]
        parts += [task.summary for task in self.tasks]
        if self.accepted:
            parts.append("accepted by the cosine alone" if self.by_cosine_alone else "accepted")
        else:
            parts.append("REFUSED and kept by force: never chosen, only run by name")
        return "; ".join(parts)
