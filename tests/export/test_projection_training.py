"""Training of projections: on sounds, judged on others, from neighbours or from judgements, and on the command line."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import claprt
from claprt.errors import DatasetError, OptionError
from claprt_export.cli import main
from claprt_export.errors import ExportError
from claprt_export.parity import Graph
from claprt_export.projection.coverage import use_of
from claprt_export.projection.network import ProjectionConfig, read_projection
from claprt_export.projection.train import Plan, Trained, save_trained, train_projection, unevenness
from claprt_export.projection.training_data import material, read_embeddings, read_triplets
from claprt_export.projection.triplets import Neighbourhoods, given_triplets, proxy_triplets
from tests.export.projections import BASE, DIM, Original, clusters, unit


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the toy bundle that may be altered."""
    shutil.copytree(bundle, tmp_path / "own")
    return tmp_path / "own"


# what is trained on


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (unit(3)[0], r"holds float32 \[512\]"),
        (np.zeros((0, DIM), np.float32), r"holds float32 \[0, 512\]"),
        (np.ones((3, DIM), np.int64), r"holds int64 \[3, 512\]"),
        (np.stack([unit(1)[0], np.full(DIM, np.nan)]), "NaN or infinity in 1 of 2 rows, first in row 1"),
        (np.stack([np.zeros(DIM), np.ones(DIM)]), "nothing but zeros in 1 of 2 rows, first in row 0"),
    ],
)
def test_what_are_no_embeddings(embeddings: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", embeddings)
    with pytest.raises(DatasetError, match=rf"bad\.npy.*{message}"):
        read_embeddings(tmp_path / "bad.npy")


def test_files_of_embeddings(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", embeddings=unit(4), fingerprint=np.array("tiny/laion/windows/fp32/0"))
    found = read_embeddings(tmp_path / "good.npz")
    assert np.array_equal(found.embeddings, unit(4))
    assert found.fingerprint == "tiny/laion/windows/fp32/0"
    np.savez(tmp_path / "other.npz", vectors=unit(4))
    with pytest.raises(DatasetError, match="holds no array of embeddings: .*It has vectors"):
        read_embeddings(tmp_path / "other.npz")
    with pytest.raises(DatasetError, match="is not there"):
        read_embeddings(tmp_path / "absent.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    (tmp_path / "text.npy").write_text("hello")
    for name in ("objects.npy", "text.npy"):
        with pytest.raises(DatasetError, match=r"cannot be read as \.npy or \.npz"):
            read_embeddings(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("anchor,positive,negative\n0,1,4\n", r"triplet 0 is \[0, 1, 4\], and rows go from 0 to 3 \(1 of 1"),
        ("0,1,2\n0,-1,2\n", r"triplet 1 is \[0, -1, 2\]"),
        ("0,1,2\n1,1,2\n", r"triplet 1 is \[1, 1, 2\], which names a sound twice \(1 of 2"),
        ("0,1\n", "triplet 0 should be three whole numbers, and is '0,1'"),
        ("0,1,2\n0,1,two\n", "triplet 1 should be three whole numbers, and is '0,1,two'"),
        ("0,1,99999999999999999999\n", "should be three whole numbers"),
        ("anchor,positive,negative\n", "holds no triplets"),
    ],
)
def test_what_are_no_triplets(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "triplets.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_triplets(tmp_path / "triplets.csv", 4)


def test_files_of_triplets(tmp_path: Path) -> None:
    wanted = np.array([[0, 1, 2], [3, 2, 0]])
    (tmp_path / "triplets.csv").write_text("a,b,c\n0, 1, 2\n\n3,2,0\n")
    np.save(tmp_path / "triplets.npy", wanted.astype(np.uint8))
    for name in ("triplets.csv", "triplets.npy"):
        assert np.array_equal(read_triplets(tmp_path / name, 4), wanted)
    np.save(tmp_path / "floats.npy", wanted.astype(np.float64))
    for name, message in (
        ("floats.npy", "should hold triplets"),
        ("absent.csv", "cannot be read"),
        ("absent.npy", "not there"),
    ):
        with pytest.raises(DatasetError, match=message):
            read_triplets(tmp_path / name, 4)


def test_proxy_triplets_are_what_they_say() -> None:
    found = material(clusters(90))
    triplets = proxy_triplets(found, neighbours=5)
    held_out = set(triplets.sounds.tolist())
    drawn = triplets.draw(3000, np.random.default_rng(0))
    assert len(held_out) == 18
    assert not held_out & set(drawn.ravel().tolist())
    assert set(triplets.held_out.ravel().tolist()) <= held_out
    kept = np.array(sorted(set(range(90)) - held_out))
    unit_rows = found.embeddings.astype(np.float64)
    cosines = unit_rows @ unit_rows.T
    for anchor, positive, negative in drawn[:400]:
        others = cosines[anchor, kept[kept != anchor]]
        assert cosines[anchor, positive] >= np.sort(others)[-5] - 1e-9
        assert cosines[anchor, negative] <= np.median(others) + 1e-5
        assert len({anchor, positive, negative}) == 3


@pytest.mark.parametrize("sounds", [3, 4, 9])
def test_sounds_that_are_all_equally_far(sounds: int) -> None:
    """No sound is further than the median; one of the others is taken, and drawing ends."""
    rows = np.arange(sounds)
    drawn = Neighbourhoods(np.eye(DIM, dtype=np.float32), rows, 1).draw(200, np.random.default_rng(0))
    assert all(len(set(triplet)) == 3 for triplet in drawn.tolist())


def test_copies_are_used_once() -> None:
    vectors = clusters(60)
    found = material(np.concatenate([vectors, vectors[:20]]))
    triplets = proxy_triplets(found, neighbours=5)
    assert "20 copies left out" in triplets.about
    drawn = triplets.draw(2000, np.random.default_rng(0))
    assert drawn.max() < 60
    judged = np.array([[0, 20, 5], [60, 0, 5], [0, 1, 60]] + [[a, (a + 8) % 60, (a + 3) % 60] for a in range(60)])
    given = given_triplets(found, judged)
    assert "2 left out that compare a sound with its copy" in given.about


def test_too_few_sounds() -> None:
    found = material(clusters(25))
    with pytest.raises(DatasetError, match=r"25 different sounds, of which 5 are held out; 10 neighbours ask for 21"):
        proxy_triplets(found)
    assert len(proxy_triplets(found, neighbours=9).sounds) == 5
    with pytest.raises(OptionError, match="neighbours=0"):
        proxy_triplets(found, neighbours=0)
    with pytest.raises(DatasetError, match="1 usable triplets of 3 sounds leave 0 to train on and 1 to judge by"):
        given_triplets(found, np.array([[0, 1, 2]]))


def test_given_triplets_hold_sounds_out() -> None:
    found = material(clusters(100))
    random = np.random.default_rng(1)
    judged = np.stack([random.permutation(100)[:3] for _ in range(400)])
    triplets = given_triplets(found, judged)
    drawn = triplets.draw(1000, random)
    assert drawn.shape == (1000, 3)
    assert not np.isin(drawn, triplets.sounds).any()
    assert np.isin(triplets.held_out, triplets.sounds).any(axis=1).all()
    assert 40 < len(triplets.held_out) < 120


# training


def trained(plan: Plan, config: ProjectionConfig | None = None, lines: list[str] | None = None) -> Trained:
    found = material(clusters())
    report = (lambda _: None) if lines is None else lines.append
    return train_projection(
        found, proxy_triplets(found, neighbours=6), config or ProjectionConfig(hidden_dim=32), plan, report
    )


QUICK = Plan(epochs=4, triplets=2000, batch=64, rate=0.01)


@pytest.fixture(scope="module")
def quick() -> Trained:
    return trained(QUICK)


def test_training_learns_what_it_is_told(quick: Trained) -> None:
    assert quick.accuracy > 0.95
    assert quick.accuracy > quick.untrained_accuracy
    assert min(quick.use.axes) > 0.4


def test_the_seed_decides(quick: Trained) -> None:
    same, other = trained(QUICK), trained(dataclasses.replace(QUICK, seed=1))
    states = [run.network.state_dict() for run in (quick, same, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert quick.checkpoint["history"] == same.checkpoint["history"]
    assert not torch.equal(states[0]["net.0.weight"], states[2]["net.0.weight"])


def test_training_leaves_torchs_own_random_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(Plan(epochs=1, triplets=1000, batch=16, rate=0.01))
    assert torch.equal(torch.rand(3), expected)


def test_the_file_is_the_originals(quick: Trained, tmp_path: Path) -> None:
    stored = save_trained(quick, tmp_path / "x.pt")
    content = torch.load(tmp_path / "x.pt", weights_only=True)
    assert list(content) == ["model_state_dict", "optimizer_state_dict", "history", "config"]
    assert content["config"] == {**BASE, "margin": 0.2}
    assert set(content["history"]) == {"train_loss", "val_loss", "val_accuracy", "epochs"}
    assert content["history"]["epochs"] == len(content["history"]["val_accuracy"]) == 4
    network = Original(content["config"]).eval()
    network.load_state_dict(content["model_state_dict"])
    torch.optim.Adam(network.parameters()).load_state_dict(content["optimizer_state_dict"])
    again = read_projection(tmp_path / "x.pt")
    assert again.sha256 == stored.sha256
    with torch.inference_mode():
        wanted = network(torch.from_numpy(unit(5))).numpy()
    found = Graph(tmp_path / "x.onnx")({"embeddings": unit(5)})
    assert np.abs(found - wanted).max() < 1e-6


def test_the_best_epoch_is_kept_and_training_ends() -> None:
    lines: list[str] = []
    run = trained(Plan(epochs=40, triplets=400, rate=0.05, patience=2), lines=lines)
    history = run.checkpoint["history"]
    assert run.best_epoch == 1 + int(np.argmin(history["val_loss"]))
    assert history["epochs"] == min(40, run.best_epoch + 2) < 40
    assert run.accuracy == history["val_accuracy"][run.best_epoch - 1]
    assert lines[0].startswith("untrained: held-out loss ")
    assert lines[run.best_epoch].endswith(" *")


def test_spreading_uses_more_of_the_space() -> None:
    """A margin of 1 alone, as in kromosynth-evaluate, drives descriptors into the corners."""
    alone = trained(Plan(epochs=4, triplets=2000, batch=64, rate=0.01, margin=1.0, spread=0.0))
    spread = trained(Plan(epochs=4, triplets=2000, batch=64, rate=0.01, margin=1.0, spread=2.0))
    assert np.mean(spread.use.axes) > np.mean(alone.use.axes) + 0.1


def test_one_descriptor_can_be_trained() -> None:
    run = trained(
        Plan(epochs=1, triplets=2000, batch=64, rate=0.01),
        ProjectionConfig(hidden_dim=16, output_dim=1, num_hidden_layers=1, dropout=0.2),
    )
    assert len(run.use.axes) == 1


def test_unevenness_by_hand() -> None:
    even = torch.linspace(0.005, 0.995, 100)[:, None]
    assert unevenness(even).item() < 1e-4
    assert unevenness(torch.full((100, 1), 0.5)).item() == pytest.approx(1, abs=1e-3)
    assert unevenness((even > 0.5).float()).item() == pytest.approx(1, abs=1e-3)
    assert unevenness(torch.cat([even, even], dim=1)).item() == pytest.approx(1, abs=1e-3)
    assert unevenness(torch.cat([even, even[torch.randperm(100)]], dim=1)).item() < 0.2
    assert unevenness(torch.zeros(1, 6)).isfinite()


def test_use_by_hand() -> None:
    random = np.random.default_rng(0).random((3000, 6)).astype(np.float32)
    full = use_of(random)
    assert min(full.axes) > 0.98
    assert full.grid > 0.97
    assert full.bins == 4
    corners = use_of((random > 0.5).astype(np.float32))
    assert corners.axes[0] == pytest.approx(0.2, abs=0.01)
    assert corners.grid < 0.05


@pytest.mark.parametrize(
    "change",
    [{"epochs": 0}, {"batch": 0}, {"patience": 0}, {"triplets": 0}, {"seed": -1}, {"rate": float("nan")}, {"margin": 0.0},
     {"spread": -1.0}, {"margin": float("inf")}],
)  # fmt: skip
def test_plans_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Plan(**change)


def test_training_that_breaks() -> None:
    with pytest.raises(ExportError, match="Training gave NaN from the first epoch on: rate=1e"):
        trained(Plan(epochs=2, triplets=2000, rate=1e30))
    with pytest.raises(ExportError, match="Training has hardly begun in 1 epochs: over unlike inputs"):
        trained(Plan(epochs=1, triplets=2, batch=2))
    with pytest.raises(OptionError, match="input_dim=100 does not fit embeddings of 512"):
        trained(QUICK, ProjectionConfig(input_dim=100))


# training on the command line


SHORT = ["--epochs", "2", "--triplets-per-epoch", "1000", "--batch", "64", "--rate", "0.01"]


def test_the_command_trains(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fingerprint = claprt.load(own).fingerprint
    np.savez(tmp_path / "sounds.npz", embeddings=clusters(), fingerprint=np.array(fingerprint))
    out = tmp_path / "x.pt"
    arguments = [
        "train-projection", str(tmp_path / "sounds.npz"), "--out", str(out), "--hidden", "16", "--bundle", str(own), *SHORT,
    ]  # fmt: skip
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert f"sounds.npz holds vectors of {fingerprint}; `claprt serve` makes those of kromosynth" in said.err
    assert "epoch   2: loss" in said.err
    assert "128 sounds to train on and 32 held out" in said.out
    assert "held-out triplets right" in said.out
    assert "512 → 6, relu, of x.pt" in said.out
    assert out.is_file()
    assert claprt.load(own).project(unit(2)).shape == (2, 6)
    assert main(arguments) == 1
    assert "x.pt exists already; add --force" in capsys.readouterr().err
    assert main([*arguments, "--force", "--dimensions", "2"]) == 0
    assert claprt.load(own).project(unit(2)).shape == (2, 2)


@pytest.mark.parametrize("preprocess", ["kromosynth", "laion"])
@pytest.mark.parametrize("bundled", [True, False])
def test_vectors_that_the_service_does_not_make(
    own: Path, tmp_path: Path, preprocess: str, bundled: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said where the projection goes into a bundle, which may be served."""
    fingerprint = claprt.load(own, preprocess=preprocess).fingerprint
    np.savez(tmp_path / "sounds.npz", embeddings=clusters(), fingerprint=np.array(fingerprint))
    arguments = ["train-projection", str(tmp_path / "sounds.npz"), "--out", str(tmp_path / "x.pt"), *SHORT]
    assert main([*arguments, *(["--bundle", str(own)] if bundled else [])]) == 0
    assert ("embed --preprocess kromosynth" in capsys.readouterr().err) == (bundled and preprocess != "kromosynth")


def test_the_command_trains_on_judgements(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "sounds.npy", clusters(80))
    judged = "".join(f"{a},{(a + 8) % 80},{(a + 1 + k) % 80}\n" for a in range(80) for k in range(6))
    (tmp_path / "judged.csv").write_text(judged)
    arguments = ["train-projection", str(tmp_path / "sounds.npy"), "--out", str(tmp_path / "y.pt"),
                 "--triplets", str(tmp_path / "judged.csv"), *SHORT]  # fmt: skip
    assert main(arguments) == 0
    assert "triplets to train on" in capsys.readouterr().out
    assert read_projection(tmp_path / "y.pt").network.config.hidden_dim == 128


def test_the_command_refuses_early(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "short.npy", clusters()[:, :100])
    np.savez(tmp_path / "other.npz", embeddings=clusters(), fingerprint=np.array("another/laion/windows/fp32/0"))
    for name, out, message in (
        ("short.npy", "x.pt", r"short.npy is for vectors of 100 numbers"),
        ("other.npz", "x.pt", r"other.npz holds vectors of another/laion/windows/fp32/0, and the bundle is 'tiny'"),
        ("other.npz", "x.onnx", "the name must end in .pt"),
        ("other.npz", "none/x.pt", "there is no folder"),
    ):
        arguments = ["train-projection", str(tmp_path / name), "--out", str(tmp_path / out), "--bundle", str(own)]
        assert main(arguments) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x.pt").exists()
    (tmp_path / "x.pt").mkdir()
    assert main(["train-projection", str(tmp_path / "short.npy"), "--out", str(tmp_path / "x.pt")]) == 1
    assert "x.pt is a folder; name a file" in capsys.readouterr().err
