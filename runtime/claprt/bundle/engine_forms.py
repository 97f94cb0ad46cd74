"""What a manifest says of forms that engines run in place of a graph: engines built from it, and changes checked on it."""

from __future__ import annotations

from dataclasses import dataclass

from claprt.bundle.graphs import GraphInfo, Precision, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """An engine of TensorRT-RTX, built ahead of time from a graph of the bundle and put beside it after the export."""

    file: str
    sha256: str
    bytes: int
    graph: Stage
    precision: Precision
    graph_sha256: str
    """Of the graph that it was built from."""
    cards: tuple[str, ...]
    """Compute capabilities of the GPUs that it runs on, such as `sm86`."""
    tensorrt_rtx: str
    """Version that built it."""
    profile: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
    """Smallest, usual and largest shape of each input."""
    probe: str | None = None
    """What onnxruntime's CPU provider makes of the fixed input of `claprt.engines.tensorrt.probe_feeds`, which the engine
    has to repeat on its card: vectors [rows, dim] as little-endian float32 in base64. None for the log-mel graph."""

    @property
    def summary(self) -> str:
        """The engine in one line: its cards, what built it, and the shapes that it takes."""
        low, usual, high = next(iter(self.profile.values()))
        tokens = f", {low[1]} to {high[1]} tokens" if self.graph is Stage.TEXT else ""
        batches = f"batches of {low[0]} to {high[0]} (best at {usual[0]})"
        return f"{self.file} for {', '.join(self.cards)}, TensorRT-RTX {self.tensorrt_rtx}, {batches}{tokens}"

    def check(self, graph: GraphInfo | None) -> None:
        """Compare the profile with the graph, where there is one.

        Raises:
            ValueError: If they have other inputs, or a shape is impossible.
        """
        axes = {name: len(shapes[0]) for name, shapes in self.profile.items()}
        if not axes:
            raise ValueError(f"{self.file} does not take any input")
        if graph is not None and axes != {tensor.name: len(tensor.shape) for tensor in graph.inputs}:
            raise ValueError(f"{self.file} does not take the inputs of {graph.file}")
        if any(len(shape) != axes[name] or min(shape, default=0) < 1 for name, of in self.profile.items() for shape in of):
            raise ValueError(f"{self.file} has impossible shapes")


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleForm:
    """A graph's form for one row, changed for an engine when it is loaded (`claprt.engines.openvino_single`).

    A bundle lists a form only if its vectors were found, when it was exported, to be about as near to those of the graph
    itself as the engine's without the changes. The graph itself is run by onnxruntime without optimisations.
    """

    graph: Stage
    precision: Precision
    engine: str
    """Name and version of what ran both; no other version is trusted to run the changed graph rightly."""
    inputs: int
    """Sounds that were compared."""
    distance: float
    """1 minus the mean centred cosine of the form's vectors with the graph's, its mean vector subtracted from both."""
    distance_unchanged: float
    """The same of the engine without the changes."""
    distance_limit: float
    """Largest distance that is accepted, from `distance_unchanged`."""
    graph_sha256: str | None = None
    """Of the graph that was changed; None in bundles of before, whose forms count as not checked."""
    arithmetic: str | None = None
    """What the engine computed in where the graph leaves it open, `bf16` or `f32`; None as for `graph_sha256`."""

    @property
    def summary(self) -> str:
        """The form in one line."""
        checked = "not used, since its graph is not stated" if self.arithmetic is None else f"checked in {self.arithmetic}"
        return (
            f"{self.graph} {self.precision} on {self.engine} in its form for one row: {self.distance:.1e} off the graph "
            f"(unchanged {self.distance_unchanged:.1e}, limit {self.distance_limit:.1e}), {checked}"
        )
