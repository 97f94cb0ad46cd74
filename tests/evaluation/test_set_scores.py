"""Distances of folders of sounds: the numbers of the model's vectors, statistics in files, protocols, the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.errors import AudioDecodeError, DatasetError, FingerprintError, OptionError, SampleRateError
from claprt.evaluation.scores.distances.frechet import frechet
from claprt.evaluation.scores.distances.gaussians import gaussian_of_rows
from claprt.evaluation.scores.distances.vector_sets import vector_set
from claprt.evaluation.scores.protocols.preparing import prepared
from claprt.evaluation.scores.protocols.resamplers import resample
from claprt.evaluation.scores.protocols.table import PROTOCOLS, Resampling, find_protocol
from claprt.evaluation.scores.provenance import provenance_of
from claprt.evaluation.scores.set_metrics import compare
from claprt.evaluation.scores.set_scores import METRICS, SoundSet, metrics_of
from claprt.evaluation.scores.statistics_file import read_statistics, write_statistics

RATE = 48_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twelve sounds of a reference, ten candidates."""
    root = tmp_path_factory.mktemp("sets")
    names = list(SOUNDS)
    for folder, count, shift in (("reference", 12, 0), ("candidate", 10, 3)):
        (root / folder / "below").mkdir(parents=True)
        for number in range(count):
            path = root / folder / ("below" if number % 2 else ".") / f"{number}.wav"
            soundfile.write(path, SOUNDS[names[(number + shift) % 10]](RATE // 5 + 777 * number, RATE), RATE)
    return root / "reference", root / "candidate"


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.wav"), key=str)


def test_distances_of_the_models_vectors(clap: claprt.Clap, folders: tuple[Path, Path]) -> None:
    reference, candidate = folders
    found = claprt.score(reference=reference, candidate=candidate, metric=list(METRICS), model=clap)
    vectors = [clap.embed_audio(files(folder)).astype(np.float64) for folder in folders]
    expected = frechet(gaussian_of_rows(vectors[1]), gaussian_of_rows(vectors[0])).distance
    assert found["fad"] == pytest.approx(expected, rel=1e-5)
    assert set(found.values) == {"fad", "fad_inf", "kad", "precision", "recall", "density", "coverage"}
    assert set(found.intervals) == set(found.values)
    assert [item.path for item in found.items] == [str(path) for path in files(candidate)]
    assert found.items[0].fad is not None
    assert any("fewer than their 512 dimensions" in warning for warning in found.warnings)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["fad"] == found["fad"]
    assert plain["candidate"] == {"name": str(candidate), "sounds": 10, "vectors": 10}
    assert found.citation.startswith(f"FAD {found['fad']:.4f} (95% CI ")
    again = claprt.score(reference=files(reference), candidate=reversed(files(candidate)), metric=METRICS, model=clap)
    assert again["fad"] == pytest.approx(found["fad"], rel=1e-9)
    assert {item.path: item.kad for item in again.items} == pytest.approx({item.path: item.kad for item in found.items})


def test_two_candidates_are_plain_json(clap: claprt.Clap, folders: tuple[Path, Path]) -> None:
    """Without one of them there is no kernel distance, hence no part of it."""
    reference, candidate = files(folders[0])[:3], files(folders[1])[:2]
    found = claprt.score(reference=reference, candidate=candidate, metric="fad,kad", model=clap)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert np.isfinite(plain["kad"])
    assert [set(item) for item in plain["items"]] == [{"path", "fad"}] * 2


def test_a_set_against_itself(clap: claprt.Clap, folders: tuple[Path, Path]) -> None:
    found = claprt.score(reference=folders[0], candidate=folders[0], metric="fad,prdc", model=clap)
    assert found["fad"] == pytest.approx(0, abs=1e-6)
    assert found["precision"] == 1
    assert any("12 of 12 candidates are in the reference too" in warning for warning in found.warnings)


def test_statistics_in_a_file(
    clap: claprt.Clap, bundle: Path, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They give the same distance, have fadtk's names, and are refused for other vectors."""
    reference, candidate = map(str, folders)
    stored = tmp_path / "reference.npz"
    assert main(["score", "--reference", reference, "--save-reference", str(stored), "--bundle", str(bundle)]) == 0
    capsys.readouterr()
    with np.load(stored) as arrays:
        assert arrays["tiny.mu"].shape == (512,)
        assert arrays["tiny.cov"].shape == (512, 512)
        assert str(arrays["claprt.fingerprint"]) == clap.fingerprint
    whole = claprt.score(reference=reference, candidate=candidate, model=clap)
    found = claprt.score(reference=stored, candidate=candidate, model=clap)
    assert found["fad"] == pytest.approx(whole["fad"], rel=1e-9)
    assert found.reference.to_dict() == {"name": str(stored), "sounds": None, "vectors": 12}
    with pytest.raises(OptionError, match="kad needs the vectors of the reference"):
        claprt.score(reference=stored, candidate=candidate, metric="kad", model=clap)
    with pytest.raises(OptionError, match="are statistics; name a folder"):
        claprt.score(reference=reference, candidate=stored, model=clap)
    again = tmp_path / "again.npz"
    arguments = ["score", "--reference", reference, "--candidate", candidate, "--json"]
    assert main([*arguments, "--save-reference", str(again), "--bundle", str(bundle)]) == 0
    expected = claprt.score(reference=reference, candidate=candidate, model=clap)
    assert json.loads(capsys.readouterr().out) == expected.to_dict()
    with np.load(stored) as arrays, np.load(again) as both:
        assert np.array_equal(arrays["tiny.cov"], both["tiny.cov"])
    for other, protocol in ((claprt.load(bundle, hop_s=5), "claprt"), (clap, "laion")):
        with pytest.raises(
            FingerprintError, match=r"reference\.npz holds statistics of vectors tiny/laion/windows-10s/fp32"
        ):
            claprt.score(reference=stored, candidate=candidate, model=other, protocol=protocol)


def test_statistics_of_fadtk(clap: claprt.Clap, tmp_path: Path) -> None:
    """Its files state no fingerprint: they are taken for its protocol and the checkpoint that its name stands for."""
    from dataclasses import replace

    path, mean = tmp_path / "fma.npz", np.linspace(0, 1, 4)
    stored: dict[str, Any] = {"clap-laion-audio.mu": mean, "clap-laion-audio.cov": np.eye(4), "vggish.mu": mean}
    np.savez(path, **stored)
    known = replace(provenance_of(clap, protocol="fadtk"), checkpoint="630k-audioset-best")
    assert read_statistics(path, known).mean.tolist() == mean.tolist()
    for changes in ({"protocol": "claprt"}, {"checkpoint": "music_audioset_epoch_15_esc_90.14"}):
        with pytest.raises(FingerprintError, match="states no fingerprint, so it was made by another program"):
            read_statistics(path, replace(known, **changes))
    write_statistics(path, read_statistics(path, known), known)
    assert read_statistics(path, known).covariance.tolist() == np.eye(4).tolist()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (None, "cannot be read as statistics"),
        ({"tiny.mu": np.zeros(3), "tiny.cov": np.zeros((2, 2))}, r"mean \[3\] and a covariance \[2, 2\]"),
        ({"tiny.mu": np.zeros(2), "tiny.cov": np.full((2, 2), np.nan)}, "NaN or infinity"),
        ({"tiny.mu": np.zeros(2), "tiny.cov": np.array([[1.0, 2], [0, 1]])}, "not symmetric"),
        ({"tiny.mu": np.zeros(2)}, "cannot be read as statistics"),
        ({"tiny.mu": np.array(["a"], object), "tiny.cov": np.eye(1)}, "cannot be read as statistics"),
    ],
)
def test_files_that_are_no_statistics(
    clap: claprt.Clap, folders: tuple[Path, Path], tmp_path: Path, arrays: dict[str, Any] | None, words: str
) -> None:
    path = tmp_path / "bad.npz"
    if arrays is None:
        path.write_bytes(b"PK\x03\x04 nothing")
    else:
        arrays["claprt.fingerprint"] = np.array(clap.fingerprint)
        np.savez(path, **arrays)
    with pytest.raises(DatasetError, match=words):
        claprt.score(reference=path, candidate=folders[1], model=clap)


def test_sets_that_cannot_be(clap: claprt.Clap, folders: tuple[Path, Path], tmp_path: Path) -> None:
    reference, candidate = folders
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    one = tmp_path / "one"
    one.mkdir()
    soundfile.write(one / "a.wav", SOUNDS["tone"](RATE, RATE), RATE)
    for where, words in (
        (tmp_path / "none", "is not there"),
        (tmp_path / "empty", "without sound files"),
        (tmp_path / "notes.txt", "neither a folder nor .npz"),
        (list[Path](), "holds no sounds"),
        (one, "has 1 vectors, and a Fréchet distance needs two sounds"),
    ):
        with pytest.raises(DatasetError, match=words):
            claprt.score(reference=reference, candidate=where, model=clap)
    with pytest.raises(DatasetError, match="10 vectors|needs 8"):
        claprt.score(reference=reference, candidate=files(candidate)[:7], metric="fad-inf", model=clap)
    with pytest.raises(OptionError, match="candidate is one sound"):
        claprt.score(reference=reference, candidate=np.zeros(RATE, np.float32), model=clap)  # pyright: ignore[reportArgumentType]
    (one / "b.wav").write_text("no sound")
    with pytest.raises(AudioDecodeError):
        claprt.score(reference=reference, candidate=one, model=clap)
    with pytest.raises(OptionError, match="nothing to score"):
        claprt.score(reference=reference, model=clap)  # pyright: ignore[reportCallIssue]
    with pytest.raises(OptionError, match="both were given"):
        claprt.score([("a.wav", "a")], reference=reference, candidate=candidate)  # pyright: ignore[reportCallIssue,reportArgumentType]


@pytest.mark.parametrize("rows", ["windows", "sounds"])
def test_libraries(clap: claprt.Clap, bundle: Path, folders: tuple[Path, Path], tmp_path: Path, rows: str) -> None:
    """Their vectors are scored as they are, whatever a library keeps of a sound."""
    pytest.importorskip("pyarrow", reason="needs the extra library")
    for folder in folders:
        out = tmp_path / folder.name
        assert main(["index", str(folder), "--out", str(out), "--rows", rows, "--bundle", str(bundle), "-q"]) == 0
    reference, candidate = (tmp_path / folder.name for folder in folders)
    whole = claprt.score(reference=folders[0], candidate=folders[1], metric="fad,kad", model=clap)
    found = claprt.score(reference=reference, candidate=candidate, metric="fad,kad", model=clap)
    assert found["fad"] == pytest.approx(whole["fad"], rel=1e-5)
    assert found["kad"] == pytest.approx(whole["kad"], rel=1e-4)
    assert sorted(Path(item.path).name for item in found.items) == sorted(path.name for path in files(folders[1]))
    with pytest.raises(FingerprintError, match="holds vectors of tiny"):
        claprt.score(reference=reference, candidate=candidate, model="mini")
    with pytest.raises(OptionError, match="not those of protocol laion"):
        claprt.score(reference=reference, candidate=candidate, model=clap, protocol="laion")


def test_windows_of_a_sound_are_not_independent(clap: claprt.Clap) -> None:
    """Shares of windows have no interval; a distance has one, over sounds."""
    rows = np.random.default_rng(0).normal(size=(2, 40, 6))
    names, owner = [f"sound {number}" for number in range(20)], np.repeat(np.arange(20), 2).tolist()
    single, windows = vector_set(rows[0], [str(number) for number in range(40)]), vector_set(rows[1], names, owner)
    reference, candidate = (
        SoundSet(name=name, gaussian=gaussian_of_rows(of.rows), vectors=of) for name, of in (("r", single), ("c", windows))
    )
    found = compare(reference, candidate, METRICS, find_protocol("fadtk"), provenance_of(clap))
    assert set(found.intervals) == {"fad", "fad_inf", "kad", "recall", "coverage"}
    found = compare(candidate, reference, METRICS, find_protocol("fadtk"), provenance_of(clap))
    assert set(found.intervals) == {"fad", "fad_inf", "kad", "precision", "density"}


def test_metrics_by_name() -> None:
    assert metrics_of("kad, FAD,prdc") == ("fad", "kad", "precision-recall-density-coverage")
    assert metrics_of(["fad_inf"]) == ("fad-inf",)
    for wrong in ("mmd", "", []):
        with pytest.raises(OptionError, match="give one or more of fad, fad-inf, kad"):
            metrics_of(wrong)


def test_the_command(bundle: Path, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference, candidate = map(str, folders)
    arguments = ["score", "--reference", reference, "--candidate", candidate, "--bundle", str(bundle)]
    items = tmp_path / "items.csv"
    assert main([*arguments, "--metric", "fad,kad", "--json", "--items", str(items)]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert {"fad", "kad"} <= set(found)
    assert "fewer than their 512 dimensions" in captured.err
    with items.open(newline="", encoding="utf-8") as file:
        assert [float(row["fad"]) for row in csv.DictReader(file)] == [item["fad"] for item in found["items"]]
    assert main([*arguments, "--metric", "prdc"]) == 0
    assert "coverage" in capsys.readouterr().out
    saved = tmp_path / "reference.npz"
    assert main([*arguments[:3], *arguments[5:], "--save-reference", str(saved), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"] == str(saved)
    for more, words in (
        (["--metric", "mmd"], "mmd"),
        (["--protocol", "laion", "--hop", "5"], "own preprocessing"),
        (["--protocol", "audiocraft"], "does not compute distances of sets"),
        (["--save-reference", "a.txt"], "written as .npz"),
    ):
        assert main([*arguments, *more]) == 1
        assert words in capsys.readouterr().err
    for wrong in (["score"], ["score", "--reference", reference], ["score", "--pairs", "a.csv", "--candidate", candidate]):
        with pytest.raises(SystemExit):
            main(wrong)
        assert "--pairs" in capsys.readouterr().err


def test_streaming_is_the_same_distance(clap: claprt.Clap, folders: tuple[Path, Path], tmp_path: Path) -> None:
    reference, candidate = files(folders[0]), files(folders[1])
    whole = claprt.score(reference=reference, candidate=candidate, metric="fad,kad", model=clap).to_dict()
    metric = claprt.AudioDistance("fad,kad", clap)
    metric.update(reference[:5], real=True)
    metric.update(candidate[6:])
    metric.update(reference[5:], real=True)
    metric.update(candidate[:6])
    found = metric.compute().to_dict()
    assert {**found, "items": None} == {**whole, "items": None}
    metric.reset()
    with pytest.raises(DatasetError, match="has 0 vectors"):
        metric.compute()
    metric.update(candidate)
    assert metric.compute().to_dict() == whole
    metric.reset(real=True)
    metric.update(candidate)
    with pytest.raises(DatasetError, match="reference has 0 vectors"):
        metric.compute()
    fixed = claprt.AudioDistance("fad", clap, reference=folders[0])
    fixed.update(candidate)
    assert fixed.compute()["fad"] == whole["fad"]
    with pytest.raises(OptionError, match="sounds cannot be added"):
        fixed.update(reference, real=True)


# protocols


def test_protocols_by_name() -> None:
    assert find_protocol("claprt").is_default
    assert not find_protocol("claprt").draws
    with pytest.raises(OptionError, match="choose one of claprt, laion, audiocraft"):
        find_protocol("clap")
    with pytest.raises(OptionError, match="fadtk does not compute scores of pairs"):
        find_protocol("fadtk", pairs=True)


@pytest.mark.parametrize("name", [name for name, row in PROTOCOLS.items() if row.pairs])
def test_every_protocol_scores_pairs(clap: claprt.Clap, tmp_path: Path, name: str) -> None:
    """Twice the same; a long sound differs between seeds where the protocol draws. Fingerprints differ."""
    path = tmp_path / "long.wav"
    parts = [SOUNDS[kind](RATE * 3, RATE // 2) for kind in ("tone", "drums", "rain", "chirp")]
    soundfile.write(path, np.concatenate(parts), RATE // 2)
    pairs = [(path, "a"), (path, "b")]
    first, again = (claprt.score(pairs, model=clap, protocol=name).to_dict() for _ in range(2))
    assert first == again
    other = claprt.score(pairs, model=clap, protocol=name, seed=1)
    assert (other.mean != first["mean"]) == PROTOCOLS[name].draws
    assert (other.provenance.fingerprint == clap.fingerprint) == (name == "claprt")
    assert other.provenance.protocol == name


def test_windows_are_drawn_as_laion_draws_them(clap: claprt.Clap, fused_clap: claprt.Clap) -> None:
    """One generator for all sounds, in order; short ones draw nothing; fused checkpoints draw three views and a window."""
    sounds = [(np.arange(seconds * RATE, dtype=np.float32) / (20 * RATE), RATE) for seconds in (12, 3, 15)]
    random = np.random.RandomState(5)
    starts = [int(random.randint(0, (seconds - 10) * RATE + 1)) for seconds in (12, 15)]
    found = list(prepared(sounds, PROTOCOLS["laion"], clap.manifest.audio, seed=5))
    assert [sound.windows[0][0] for sound in found] == [starts[0], 0, starts[1]]
    assert [sound.windows[0][1].size for sound in found] == [480_000] * 3
    random = np.random.RandomState(5)
    views: list[list[int]] = []
    for seconds in (12, 15):
        positions = range((seconds - 10) * 100 + 1)
        views.append([int(random.choice(third)) for third in np.array_split(positions, 3)])
        random.randint(0, (seconds - 10) * RATE + 1)
    found = list(prepared(sounds, PROTOCOLS["laion"], fused_clap.manifest.audio, seed=5))
    assert [sound.views and list(sound.views) for sound in found] == [views[0], None, views[1]]


def test_windows_of_fadtk(clap: claprt.Clap) -> None:
    """Ten seconds from every second of the sound, with zeros behind its end; levels through two sorts of 16 bits."""
    samples = np.full(int(2.5 * RATE), 0.5, np.float32)
    (found,) = prepared([(samples, RATE)], PROTOCOLS["fadtk"], clap.manifest.audio, seed=0)
    assert [start for start, _ in found.windows] == [0, RATE, 2 * RATE]
    assert [int((window > 0).sum()) for _, window in found.windows] == [int(2.5 * RATE), int(1.5 * RATE), RATE // 2]
    # 0.5 is 16384 / 32768; of 32767 that is 16383.5, which is cut
    assert found.windows[0][1][0] == np.float32(16383 / 32767)


def test_levels_of_stable_audio_metrics(clap: claprt.Clap) -> None:
    samples = SOUNDS["tone"](RATE, RATE) * np.float32(0.1)
    (found,) = prepared([(samples, RATE)], PROTOCOLS["stable-audio-metrics"], clap.manifest.audio, seed=0)
    assert np.abs(found.windows[0][1]).max() == pytest.approx(10 ** (-1 / 20), abs=2 / 32767)
    silence = np.zeros(RATE, np.float32)
    (found,) = prepared([(silence, RATE)], PROTOCOLS["stable-audio-metrics"], clap.manifest.audio, seed=0)
    assert not found.windows[0][1].any()


@pytest.mark.parametrize("how", list(Resampling))
@pytest.mark.parametrize("rate", [44_100, 22_050, 96_000])
def test_resamplers_keep_a_tone(how: Resampling, rate: int) -> None:
    """A tone of 1 kHz at another rate is the tone at 48 kHz, away from the edges; parity runs the originals."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32)
    found = resample(tone, rate, RATE, how)
    assert abs(found.size - RATE) <= 1
    expected = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    # torchaudio's short filter ripples by half a percent
    apart = np.abs(found[2000:46_000] - expected[2000:46_000]).max()
    assert apart < (6e-3 if how is Resampling.TORCHAUDIO else 1e-3)


def test_rates_that_a_resampler_cannot_bring(clap: claprt.Clap, tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    soundfile.write(path, np.zeros(5000), 47_999)
    with pytest.raises(SampleRateError, match="julius cannot bring 47999 Hz to 48000 Hz"):
        claprt.score([(path, "a")], model=clap, protocol="audiocraft")
    assert claprt.score([(path, "a")], model=clap, protocol="laion").n == 1
