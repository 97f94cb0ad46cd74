"""Graphs of small towers, traced once and compared with their towers once: that takes most of an export's time.

python -m tests.export.traced FILE …       claprt-export with what FILE holds, for processes of the exporter's own
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from claprt.bundle.graphs import ParityReport
from claprt.bundle.manifest import AudioConfig
from claprt_export import cli, pipeline
from claprt_export.graphs import to_onnx
from claprt_export.towers import AudioTower, TextTower

Trace = Callable[..., onnx.ModelProto]
Check = Callable[..., ParityReport]
_CHECKS = ("check_log_mel", "check_audio", "check_text")
_SMALL = 5_000_000
"""Parameters from which a tower is traced anew each time."""


@dataclass(frozen=True, slots=True)
class Made:
    """What exports have made so far."""

    graphs: dict[tuple[object, ...], bytes] = field(default_factory=dict[tuple[object, ...], bytes])
    """By what they were traced from: kind, sizes and weights of a tower, shapes of inputs, the output."""
    reports: dict[tuple[object, ...], ParityReport] = field(default_factory=dict[tuple[object, ...], ParityReport])
    """By what was compared: a written graph, but for its metadata, and its tower."""


def keep(made: Made, replace: Callable[[object, str, object], None]) -> None:
    """Let exports take from `made` what is there, and put there what they had to make.

    Args:
        made: graphs and reports.
        replace: puts a value in the place of a module's attribute.
    """
    replace(to_onnx, "_traced", _traced_once(vars(to_onnx)["_traced"], made))
    for name in _CHECKS:
        replace(pipeline, name, _compared_once(getattr(pipeline, name), name, made))


def _traced_once(trace: Trace, made: Made) -> Trace:
    def once(tower: Any, inputs: Mapping[str, Any], axes: Any, output: str) -> onnx.ModelProto:
        if sum(parameter.numel() for parameter in tower.parameters()) > _SMALL:
            return trace(tower, inputs, axes, output)
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in inputs.items())
        key = (*_described(tower), shapes, output)
        if key not in made.graphs:
            made.graphs[key] = trace(tower, inputs, axes, output).SerializeToString()
        return onnx.ModelProto.FromString(made.graphs[key])

    return once


def _compared_once(check: Check, name: str, made: Made) -> Check:
    def once(path: Path, *arguments: Any, **options: Any) -> ParityReport:
        given = (*arguments, *options.values())
        towers = [_described(value) for value in given if isinstance(value, AudioTower | TextTower)]
        facts = [repr(value) for value in given if isinstance(value, AudioConfig | bool)]
        model = onnx.load(path)
        model.ClearField("metadata_props")  # the checkpoint's sha256 is in them
        key = (name, hashlib.sha256(model.SerializeToString()).hexdigest(), *towers, *facts)
        if key not in made.reports:
            made.reports[key] = check(path, *arguments, **options)
        return made.reports[key]

    return once


def _described(tower: Any) -> tuple[str, str, str]:
    """Kind, sizes and weights of a tower."""
    state: dict[str, Any] = {**dict(tower.named_buffers()), **dict(tower.named_parameters())}
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return type(tower).__qualname__, repr(getattr(tower, "architecture", tower)), digest.hexdigest()


@contextlib.contextmanager
def kept_in(file: Path) -> Generator[None]:
    """Let exports take what a file holds, if it is there, and write the file with what they had to make, if it is not."""
    made = pickle.loads(file.read_bytes()) if file.exists() else Made()  # of the test that starts this process
    keep(made, setattr)
    yield
    if not file.exists():
        file.write_bytes(pickle.dumps(made))


if __name__ == "__main__":
    from tests.export import traced  # whose `Made` is the one that was pickled

    with traced.kept_in(Path(sys.argv[1])):
        status = cli.main(sys.argv[2:])
    sys.exit(status)
