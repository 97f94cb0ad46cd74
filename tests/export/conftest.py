"""A checkpoint of the published layout with sizes so small that it is exported in seconds."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pickle
import shutil
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch: the export extra")

import onnx  # noqa: E402

from claprt.bundle.graphs import Precision  # noqa: E402
from claprt.bundle.manifest import AudioConfig  # noqa: E402
from claprt.checkpoints import exporter_process  # noqa: E402
from claprt.evaluation.dataset import Dataset  # noqa: E402
from claprt_export import cli, pipeline  # noqa: E402
from claprt_export.architecture import AudioArchitecture, TextArchitecture  # noqa: E402
from claprt_export.checkpoints.checkpoint import Checkpoint  # noqa: E402
from claprt_export.checkpoints.random_weights import seeded_checkpoint  # noqa: E402
from claprt_export.checkpoints.tokenizer import byte_level_tokenizer  # noqa: E402
from claprt_export.graphs import to_onnx  # noqa: E402
from claprt_export.precision import lower  # noqa: E402
from claprt_export.precision.labelled_sets import Feeds, Labelled, calibration_sounds, synthesised_set  # noqa: E402
from tests import no_network  # noqa: E402
from tests.export.traced import Made, keep  # noqa: E402

SMALL_AUDIO = AudioArchitecture(embed_dim=32, depths=(1, 2, 1, 1), heads=(2, 4, 8, 16))
"""mini's widths, which the native engine runs: layers of its first two stages stay in float32."""
SMALL_FUSED = AudioArchitecture(embed_dim=16, depths=(1, 1, 1, 1), heads=(1, 2, 4, 8), fused=True)
SMALL_TEXT = TextArchitecture(vocabulary=261, width=64, layers=2, heads=1, hidden=128, positions=80)


@pytest.fixture(scope="session", autouse=True)
def made() -> Iterator[Made]:
    """Small towers with the same weights are traced, and compared with their graphs, once in a run.

    A test of the tracing itself clears what was kept.
    """
    kept = Made()
    with pytest.MonkeyPatch.context() as patch:
        keep(kept, patch.setattr)
        yield kept


@pytest.fixture
def traced_exporter(exported: Path, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The exporter as a process of its own, which takes the graphs of `small` from this one; what starts it."""
    assert exported.is_dir()
    file = tmp_path / "made.pickle"
    file.write_bytes(pickle.dumps(made))
    command = [sys.executable, "-m", "tests.export.traced", str(file)]
    monkeypatch.setattr(exporter_process, "exporter_command", lambda: command)
    monkeypatch.setenv("PYTHONPATH", with_tests_on_path())
    return command


def with_tests_on_path() -> str:
    """`PYTHONPATH` of a process that imports these tests."""
    return os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


@pytest.fixture
def traced_before(exported: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs of `small` stand for those of towers of its sizes, in tests of exports that end before graphs are compared."""

    def found(tower: Any, inputs: Mapping[str, Any], axes: Any, output: str) -> onnx.ModelProto:
        kind, architecture = type(tower).__qualname__, repr(tower.architecture)
        return onnx.ModelProto.FromString(
            next(graph for key, graph in made.graphs.items() if key[:2] == (kind, architecture))
        )

    monkeypatch.setattr(to_onnx, "_traced", found)


@pytest.fixture(scope="session")
def small() -> Checkpoint:
    return seeded_checkpoint("small", SMALL_AUDIO, SMALL_TEXT, seed=1)


@pytest.fixture(scope="session")
def small_fused(small: Checkpoint) -> Checkpoint:
    """With the text tower of `small`, which has been traced."""
    fused = seeded_checkpoint("small-fused", SMALL_FUSED, SMALL_TEXT, seed=2)
    text = {name: tensor for name, tensor in small.weights.items() if name.startswith("text_")}
    return dataclasses.replace(fused, weights={**fused.weights, **text})


def laion_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """The weights as LAION publishes them, with what the towers do not need."""
    state = {f"module.{name}": tensor for name, tensor in checkpoint.weights.items()}
    state["module.text_branch.embeddings.position_ids"] = torch.arange(80)[None]
    state["module.audio_branch.head.weight"] = torch.zeros(527, 527)
    state["module.text_transform.sequential.0.bias"] = torch.zeros(512)
    state["module.audio_branch.bn0.num_batches_tracked"] = torch.tensor(5)
    return state


@pytest.fixture(scope="session")
def laion_file(small: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoints") / "small.pt"
    torch.save({"epoch": 3, "state_dict": laion_state(small)}, path)
    return path


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    byte_level_tokenizer().save(str(path))
    return path


@pytest.fixture(scope="session")
def fused_file(small_fused: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoints") / "fused.pt"
    torch.save(laion_state(small_fused), path)
    return path


_EXPORTS = """
from pathlib import Path
from claprt_export import cli
from tests.export.traced import kept_in

with kept_in(Path({file!r})):
    statuses = [cli.main(arguments) for arguments in {exports!r}]
sys.exit(max(statuses))
"""


@pytest.fixture(scope="session")
def first_exports(
    laion_file: Path, fused_file: Path, tokenizer_file: Path, made: Made, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Exports of `small` and `small_fused`, the only ones that trace their towers; the folder of `bundles` and `home`.

    A process of its own makes them, with this home, and may not use a network, where processes can be kept from it.
    """
    folder = tmp_path_factory.mktemp("first")
    bundles, home, file = folder / "bundles", folder / "home", folder / "made.pickle"
    home.mkdir()
    exports = [
        ["--checkpoint", str(path), "--tokenizer", str(tokenizer_file), "--out", str(bundles / path.stem)]
        for path in (laion_file, fused_file)
    ]
    if not no_network.AVAILABLE:
        assert [cli.main(arguments) for arguments in exports] == [0, 0]
        return folder
    program = _EXPORTS.format(file=str(file), exports=exports)
    done = no_network.run(program, home, PYTHONPATH=with_tests_on_path())
    assert done.returncode == 0, done.stderr
    there: Made = pickle.loads(file.read_bytes())
    made.graphs.update(there.graphs)
    made.reports.update(there.reports)
    return folder


@pytest.fixture(scope="session")
def exported(first_exports: Path) -> Path:
    """The bundle of `small`, with nothing beside it."""
    return Path(shutil.copytree(first_exports / "bundles" / "small", first_exports / "alone" / "small"))


@pytest.fixture(scope="session")
def many(exported: Path, laion_file: Path, tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with every precision."""
    assert exported.is_dir()
    out = tmp_path_factory.mktemp("bundles") / "many"
    with few_sounds():
        pipeline.export_bundle(
            out, checkpoint=laion_file, tokenizer=tokenizer_file, precisions=list(Precision), force_precision=True
        )
    return out


_FEW = 8


@cache
def _calibration(facts: AudioConfig) -> list[Feeds]:
    return list(itertools.islice(calibration_sounds(facts, None), _FEW))


@cache
def _judged(facts: AudioConfig) -> list[Feeds]:
    return list(itertools.islice(synthesised_set(facts, each=1, at_most=1).sounds, _FEW))


@contextmanager
def few_sounds() -> Generator[None]:
    """Exports of untrained weights take their ranges from, and are judged on, a few sounds and texts, made once."""

    def calibration(facts: AudioConfig, dataset: Dataset | None) -> Iterable[Feeds]:
        return _calibration(facts) if dataset is None else calibration_sounds(facts, dataset)

    def labelled(facts: AudioConfig, *, each: int, at_most: int) -> Labelled:
        assert each == at_most == 1  # of untrained weights, whose answers are not looked at
        whole = synthesised_set(facts, each=1, at_most=1)
        return dataclasses.replace(
            whole,
            sounds=iter(_judged(facts)),
            sizes=(_FEW,),
            labels=(),
            captions=whole.captions[: 2 * _FEW],
            caption_groups=whole.caption_groups[: 2 * _FEW],
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower, "calibration_sounds", calibration)
        patch.setattr(lower, "synthesised_set", labelled)
        yield
