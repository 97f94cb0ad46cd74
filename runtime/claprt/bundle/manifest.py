"""The manifest: every fact about a bundle, as frozen dataclasses that validate themselves.

It is the contract between the exporter, the runtime and the servers, and never consulted for a model's name: whatever
differs between checkpoints stands in it as a number or a word. docs/bundle.md describes the format.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from claprt._moved import restore
from claprt.bundle.engine_forms import EngineInfo, SingleForm
from claprt.bundle.graphs import FileInfo, GraphInfo, ParityReport, Precision, ProjectionInfo, QualityReport, Stage
from claprt.bundle.inputs import AudioConfig, MelSpec, TextConfig
from claprt.bundle.metadata import PrecisionRecall, Source, TaggingCalibration, check_range, escape_controls
from claprt.errors import BundleCorruptError, BundleVersionError, OptionError
from claprt.system.foreign_errors import describe_error

SCHEMA = 1
"""Manifest schema that this release writes and reads."""

MAX_LOGIT_SCALE = 1e6
"""Largest factor on cosines; training ends at 100."""
MANIFEST_BYTES = 4_000_000
_DTYPES = frozenset({"float16", "float32", "float64", "int32", "int64", "bool"})
"""Of the inputs and outputs of graphs."""

__all__ = [
    "MANIFEST_BYTES",
    "MANIFEST_FILE",
    "MAX_LOGIT_SCALE",
    "SCHEMA",
    "TOKENIZER_FILE",
    "AudioConfig",
    "Manifest",
    "MelSpec",
    "PrecisionRecall",
    "Source",
    "TaggingCalibration",
    "TextConfig",
    "parse_manifest",
]

MANIFEST_FILE = "manifest.json"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Every fact about a bundle."""

    schema: int
    name: str
    source: Source
    embedding_dim: int
    logit_scale_a: float
    """exp(logit_scale_a), the factor that training put on cosines; the one to classify with."""
    logit_scale_t: float
    """exp(logit_scale_t); training left it at its initial value."""
    audio: AudioConfig
    text: TextConfig
    opset: int
    graphs: dict[Stage, dict[Precision, GraphInfo]]
    files: dict[str, FileInfo]
    parity: tuple[ParityReport, ...]
    quality: tuple[QualityReport, ...] = ()
    """The quality gate's findings on every precision but fp32."""
    tagging: TaggingCalibration | None = None
    """How cosines become probabilities of tags; None where nobody has calibrated."""
    projection: ProjectionInfo | None = None
    """Of embeddings to behaviour descriptors; None where none was put in."""
    tools: dict[str, str] = field(default_factory=dict[str, str])
    engines: tuple[EngineInfo, ...] = ()
    """Of TensorRT-RTX, one at most for each graph; `claprt-export tensorrt` puts them in."""
    single: tuple[SingleForm, ...] = ()
    """Forms for one row that engines may run in place of a graph; none in bundles that an earlier release exported."""

    __setstate__ = restore

    def __post_init__(self) -> None:
        check_range("embedding_dim", self.embedding_dim, 1, 65_536)
        check_range("logit_scale_a", self.logit_scale_a, 1e-6, MAX_LOGIT_SCALE)
        check_range("logit_scale_t", self.logit_scale_t, 1e-6, MAX_LOGIT_SCALE)
        check_range("opset", self.opset, 1, 1000)
        for stage in Stage:
            if Precision.FP32 not in self.graphs.get(stage, {}):
                raise ValueError(f"no fp32 graph for {stage}")
        if TOKENIZER_FILE not in self.files:
            raise ValueError(f"{TOKENIZER_FILE} is not listed")
        for stage in (Stage.AUDIO, Stage.TEXT):
            for graph in self.graphs[stage].values():
                if [tensor.shape for tensor in graph.outputs] != [("batch", self.embedding_dim)]:
                    raise ValueError(f"{graph.file} does not give vectors of {self.embedding_dim}")
        for graph in self.graph_files().values():
            for tensor in (*graph.inputs, *graph.outputs):
                if tensor.dtype not in _DTYPES:
                    raise ValueError(f"{tensor.name} in {graph.file} has the dtype {tensor.dtype!r:.60}")
                for length in tensor.shape:
                    if isinstance(length, int):
                        check_range(f"a length of {tensor.name} in {graph.file}", length, 0, 2**31)
        self._check_engines()
        if self.projection is not None and self.projection.input_dim != self.embedding_dim:
            raise ValueError(f"{self.projection.graph.file} does not take vectors of {self.embedding_dim}")

    def _check_engines(self) -> None:
        for engine in self.engines:
            engine.check(self.graphs[engine.graph].get(engine.precision))

    def graph(self, stage: Stage, precision: Precision) -> GraphInfo:
        """The graph of a stage in this precision, or in fp32 for the log-mel, which exists in no other.

        Raises:
            OptionError: If the bundle was not exported in this precision.
        """
        graphs = self.graphs[stage]
        if stage is Stage.LOG_MEL:
            precision = Precision.FP32
        if precision not in graphs:
            have = ", ".join(sorted(graphs))
            raise OptionError(
                f"Precision {precision} was asked for, but bundle {self.name!r} holds {have} for its {stage} graph. "
                f"Export it again with --precision {','.join(sorted({*graphs, precision}))}."
            )
        return graphs[precision]

    def engine(self, stage: Stage, precision: Precision) -> EngineInfo | None:
        """The TensorRT-RTX engine that was built from this graph as it is now; None if there is none."""
        graph = self.graphs[stage].get(precision)
        for engine in self.engines:
            if graph is not None and (engine.graph, engine.precision) == (stage, precision):
                return engine if engine.graph_sha256 == graph.sha256 else None
        return None

    def accepted(self, stage: Stage, precision: Precision) -> bool:
        """Whether the bundle has this graph and the quality gate accepted it wherever it ran; fp32 is its own measure."""
        rows = self._findings(stage, precision)
        judged = precision is Precision.FP32 or bool(rows)
        return precision in self.graphs[stage] and judged and all(row.accepted for row in rows)

    def judged_on(self, stage: Stage, precision: Precision, engine: str) -> str | None:
        """What ran this graph for the quality gate: this engine, or what stood in for it; None if neither did.

        bf16 has a stand-in, torch's autocast, where the exporting machine had nothing that computes in it. So has
        everything on TensorRT-RTX, which no exporting machine needs to have: onnxruntime with the same graph. What another
        engine made of an int8 or fp16 graph says nothing of the others.

        Args:
            stage: Of the graph.
            precision: Of the graph.
            engine: `openvino`, `onnxruntime` or `tensorrt-rtx`.

        Returns:
            Its name and version, as in `QualityReport.engine`.
        """
        engines = [row.engine for row in self._findings(stage, precision)]
        own = [name for name in engines if name.partition(" ")[0] == engine]
        other = "onnxruntime " if engine == "tensorrt-rtx" else "torch " if precision is Precision.BF16 else None
        stand_ins = [name for name in engines if other is not None and name.startswith(other)]
        return next(iter([*own, *stand_ins]), None)

    def has_single_form(self, stage: Stage, precision: Precision, engine: str, arithmetic: str) -> bool:
        """Whether this graph, as it is now, was found right in its form for one row.

        Args:
            stage: Of the graph.
            precision: Of the graph.
            engine: Name and version of what runs it, e.g. `openvino 2026.4.1`.
            arithmetic: What that computes in on this machine, `bf16` or `f32`.
        """
        graph = self.graphs[stage].get(precision)
        return graph is not None and any(
            (row.graph, row.precision, row.engine, row.arithmetic) == (stage, precision, engine, arithmetic)
            and row.graph_sha256 == graph.sha256
            for row in self.single
        )

    def _findings(self, stage: Stage, precision: Precision) -> list[QualityReport]:
        return [row for row in self.quality if row.graph is stage and row.precision is precision]

    def graph_files(self) -> dict[str, GraphInfo]:
        """Every graph of the bundle by its file, the projection's included."""
        graphs = [graph for stage in self.graphs.values() for graph in stage.values()]
        if self.projection is not None:
            graphs.append(self.projection.graph)
        return {graph.file: graph for graph in graphs}

    def listed_files(self) -> dict[str, FileInfo]:
        """Every file of the bundle but the manifest itself."""
        graphs = self.graph_files().items()
        files = {name: FileInfo(sha256=graph.sha256, bytes=graph.bytes) for name, graph in graphs}
        engines = {engine.file: FileInfo(sha256=engine.sha256, bytes=engine.bytes) for engine in self.engines}
        return {**engines, **self.files, **files}

    def to_json(self) -> str:
        """The text of `manifest.json`, in which control characters are written as escapes: printed, they do nothing."""
        facts = dataclasses.asdict(self)
        for name in ("engines", "single"):
            if not facts[name]:
                del facts[name]  # as bundles have it to which none were added
        return json.dumps(escape_controls(facts), indent=2, ensure_ascii=False) + "\n"


def parse_manifest(content: bytes, path: Path) -> Manifest:
    """Decode and validates the text of a manifest; `path` is for the messages.

    Raises:
        BundleVersionError: If it follows another schema.
        BundleCorruptError: If it is not JSON, or a field is missing or of the wrong type.
    """
    if len(content) > MANIFEST_BYTES:
        raise BundleCorruptError(
            f"{path} has {len(content)} bytes, and a manifest has {MANIFEST_BYTES} at most. Export the bundle again."
        )
    try:
        facts = msgspec.json.decode(content, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleCorruptError(f"{path} is not a manifest: {describe_error(error)}. Export the bundle again.") from error
    schema = facts.get("schema")
    if schema != SCHEMA:
        raise BundleVersionError(
            f"{path} follows manifest schema {schema!r:.60}; this release reads schema {SCHEMA}. Export the checkpoint "
            "again with this release, or install the release that wrote it."
        )
    plain = content.isascii() and b"\\" not in content and b"\x7f" not in content  # then JSON allows no control characters
    if not plain and escape_controls(facts) != facts:
        raise BundleCorruptError(
            f"{path} holds control characters, which would reach terminals and logs. Export the bundle again."
        )
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise BundleCorruptError(
            f"{path} is not a valid manifest: {describe_error(error)}. Export the bundle again."
        ) from error
    for name in manifest.listed_files():
        if Path(name).name != name:
            raise BundleCorruptError(f"{path} lists the file {name!r}, which is not a plain name inside the bundle.")
    return manifest
