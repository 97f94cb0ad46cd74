"""Projections: read strictly, exported exactly, and put into bundles whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import claprt
from claprt.bundle.graphs import PROJECTION_FILE
from claprt.errors import BundleNotFoundError, OptionError
from claprt_export.atomic import new_file
from claprt_export.cli import main
from claprt_export.errors import CheckpointError, CheckpointNotFoundError, OutputError, ParityError
from claprt_export.projection import graph
from claprt_export.projection.install import put_projection
from claprt_export.projection.network import read_projection
from tests.export.projections import BASE, DIM, Original, original, unit


def save(path: Path, network: nn.Module, config: dict[str, Any] | None = None, **more: Any) -> Path:
    torch.save({"model_state_dict": network.state_dict(), "config": config or BASE, **more}, path)
    return path


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the toy bundle that may be altered."""
    shutil.copytree(bundle, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(tmp_path / "projection.pt", original())


# from a checkpoint to a bundle


@pytest.mark.parametrize(
    ("change", "activation", "name"),
    [
        ({}, nn.ReLU, None),
        ({"num_hidden_layers": 1}, nn.ReLU, "relu"),
        ({"dropout": 0.1, "num_hidden_layers": 3}, nn.ReLU, None),  # which shifts the numbers of the layers
        ({"output_dim": 2}, nn.Tanh, "tanh"),
        ({"output_dim": 1}, nn.LeakyReLU, "leaky_relu"),
    ],
)
def test_a_bundle_gives_what_torch_gives(
    own: Path, tmp_path: Path, change: dict[str, Any], activation: type[nn.Module], name: str | None
) -> None:
    config = {**BASE, **change}
    network = original(config, activation)
    stored = read_projection(save(tmp_path / "network.pt", network, config), name)
    facts = put_projection(stored, own)
    assert facts.parity.max_abs <= facts.parity.max_abs_limit
    clap = claprt.load(own)
    assert clap.manifest.projection == facts
    vectors = np.concatenate([unit(20), np.zeros((1, DIM), np.float32), clap.embed_text(["a dog", "rain"])])
    with torch.inference_mode():
        wanted = network(torch.from_numpy(vectors)).numpy()
    assert wanted.std(axis=0).min() > 0.01
    assert np.abs(clap.project(vectors) - wanted).max() < 1e-6
    model = onnx.load(own / PROJECTION_FILE)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props}["claprt.activation"] == (name or "relu")


def test_what_else_a_checkpoint_may_hold(tmp_path: Path) -> None:
    network = original()
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, DIM)).sum().backward()
    optimiser.step()
    history = {"train_loss": [0.5], "val_loss": [np.float64(0.4)], "val_accuracy": [0.9], "epochs": 1}
    config = {**BASE, "margin": 1.0, "activation": "relu"}
    path = save(tmp_path / "full.pt", network.half(), config, optimizer_state_dict=optimiser.state_dict(), history=history)
    stored = read_projection(path)
    assert stored.activation_stated
    assert all(tensor.dtype == torch.float32 for tensor in stored.network.state_dict().values())


class _Payload:
    def __reduce__(self) -> Any:
        return (print, ("run by unpickling",))


def _saved(tmp_path: Path, content: object) -> Path:
    torch.save(content, tmp_path / "other.pt")
    return tmp_path / "other.pt"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "is not a checkpoint of a projection: .* is a Tensor"),
        ({}, "is an empty dict"),
        ({"state_dict": {"a": torch.zeros(1)}}, "is a dict with state_dict.*claprt-export --checkpoint"),
        ({"config": BASE, "model_state_dict": [1]}, "is a dict with config, model_state_dict"),
        ({"config": {**BASE, "input_dim": "512"}, "model_state_dict": {}}, "has a config that no projection has"),
        ({"config": {**BASE, "hidden_dim": 0}, "model_state_dict": {}}, "hidden_dim=0 is not possible"),
        ({"config": {**BASE, "num_hidden_layers": 10**9}, "model_state_dict": {}}, "num_hidden_layers=1000000000"),
        ({"config": {**BASE, "dropout": 1.0}, "model_state_dict": {}}, "dropout=1.0 is not possible"),
        ({"config": {**BASE, "activation": "gelu"}, "model_state_dict": {}}, "activation='gelu' is not known"),
        ({"config": {"input_dim": 512}, "model_state_dict": {}}, "states no hidden_dim in its config"),
        ({"config": BASE, "model_state_dict": {}}, r"net\.0\.bias is missing, not \[32\].* and 2 more"),
        ({"config": BASE, "model_state_dict": {"a": "b"}}, r"a is \[str\], not missing"),
        ({"config": BASE, "model_state_dict": _Payload()}, "is not loaded, because"),
    ],
)
def test_what_is_no_projection(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_projection(_saved(tmp_path, content))
    assert "run by unpickling" not in capsys.readouterr().out


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="there is no such file"):
        read_projection(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match=r"text\.pt"):
        read_projection(tmp_path / "text.pt")


def test_weights_that_do_not_fit_their_config(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"net\.2\.weight is \[32, 32\], not \[16, 16\]"):
        read_projection(save(tmp_path / "narrow.pt", original(), {**BASE, "hidden_dim": 16}))
    with pytest.raises(CheckpointError, match="They would fit a network without dropout layers, .* dropout=0.1"):
        read_projection(save(tmp_path / "dry.pt", original(), {**BASE, "dropout": 0.1}))
    wet = original({**BASE, "dropout": 0.1})
    with pytest.raises(CheckpointError, match="They would fit a network with dropout layers, .* dropout=0"):
        read_projection(save(tmp_path / "wet.pt", wet))


def test_weights_that_mean_nothing(tmp_path: Path) -> None:
    broken = original()
    with torch.no_grad():
        broken.net[2].bias[3] = float("nan")  # pyright: ignore[reportIndexIssue, reportArgumentType]
    with pytest.raises(CheckpointError, match="NaN, infinite or no floats"):
        read_projection(save(tmp_path / "nan.pt", broken))
    with pytest.raises(CheckpointError, match="has trained for no epoch"):
        read_projection(save(tmp_path / "new.pt", original(), history={"epochs": 0}))
    torch.manual_seed(11)
    with pytest.raises(CheckpointError, match="looks untrained: over unlike inputs"):
        read_projection(save(tmp_path / "fresh.pt", Original(BASE)))


def test_activations_that_contradict(tmp_path: Path) -> None:
    path = save(tmp_path / "stated.pt", original(), {**BASE, "activation": "relu"})
    with pytest.raises(OptionError, match="'tanh' was asked for, and .* states 'relu'"):
        read_projection(path, "tanh")


def test_a_bundle_of_vectors_of_another_size(own: Path, tmp_path: Path) -> None:
    config = {**BASE, "input_dim": 500}
    stored = read_projection(save(tmp_path / "short.pt", original(config), config))
    before = contents(own)
    with pytest.raises(CheckpointError, match=r"short\.pt is for vectors of 500 numbers, and those of the bundle .* 512"):
        put_projection(stored, own)
    assert contents(own) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_graph_that_differs_is_not_kept(own: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(own)
    monkeypatch.setattr(graph, "TOLERANCE", -1.0)
    with pytest.raises(ParityError, match="differs from torch by up to .* nothing was written"):
        put_projection(read_projection(checkpoint), own)
    assert contents(own) == before


def test_a_failure_between_the_files_leaves_a_bundle_without(own: Path, tmp_path: Path, checkpoint: Path) -> None:
    """A replaced graph whose manifest cannot be written any more must not be taken for the old one."""
    put_projection(read_projection(checkpoint), own)
    config = {**BASE, "output_dim": 3}
    other = read_projection(save(tmp_path / "three.pt", original(config), config))
    calls: list[Path] = []
    replace = Path.replace

    def failing(path: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return replace(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", failing)
        with pytest.raises(OutputError, match="cannot be written: No space left on device"):
            put_projection(other, own, force=True)
    assert [path.name for path in calls] == ["manifest.json", PROJECTION_FILE, "manifest.json"]
    found = claprt.read_bundle(own)
    found.verify()
    assert found.manifest.projection is None
    assert not [path for path in own.iterdir() if path.suffix == ".partial"]
    put_projection(other, own)
    assert claprt.load(own).project(unit(1)).shape == (1, 3)


# the command line


def test_the_command_puts_one_in(own: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["projection", str(checkpoint), "--bundle", str(own)]) == 0
    said = capsys.readouterr()
    assert "relu is assumed (--activation)" in said.err
    assert f"{own}: 512 → 6, relu, of projection.pt\n  projection.onnx against torch: maximum difference" in said.out
    assert main(["projection", str(checkpoint), "--bundle", str(own)]) == 1
    assert "has a projection already, of projection.pt; add --force" in capsys.readouterr().err
    assert main(["projection", str(checkpoint), "--bundle", str(own), "--force", "--activation", "tanh"]) == 0
    said = capsys.readouterr()
    assert "assumed" not in said.err
    assert "6, tanh, of" in said.out


def test_the_command_refuses(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["projection", str(checkpoint), "--bundle", "mini"]) == 1
    assert "ships with claprt and stays as released. Make one of your own, `claprt-export mini" in capsys.readouterr().err
    assert main(["projection", str(checkpoint), "--bundle", str(tmp_path / "none")]) == 1
    assert "no such folder was found there" in capsys.readouterr().err
    with pytest.raises(BundleNotFoundError):
        put_projection(read_projection(checkpoint), tmp_path)


def test_the_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--help"], ("projection CHECKPOINT.pt --bundle FOLDER", "train-projection EMBEDDINGS --out FILE.pt")),
        (["projection", "--help"], ("--activation", "--force")),
        (["train-projection", "--help"], ("--triplets", "--margin", "--seed")),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        said = capsys.readouterr().out
        assert all(word in said for word in words)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def half(out: Path, error: BaseException | None = None) -> None:
        with new_file(out) as path:
            path.write_text("half")
            if error is not None:
                raise error

    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        half(tmp_path / "none" / "x.pt")
    with pytest.raises(KeyboardInterrupt):
        half(tmp_path / "x.pt", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []
    half(tmp_path / "x.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]
