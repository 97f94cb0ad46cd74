"""Evaluation of a bundle on a dataset."""

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
from claprt.errors import DatasetError, EmptyAudioError, OptionError
from claprt.evaluation.reading.read import read_dataset
from claprt.evaluation.retrieval import retrieval
from claprt.evaluation.zero_shot import evaluate, zero_shot

RATE = 48_000
NAMES = ("tone", "drums", "rain")


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in NAMES:
        for take in range(2):
            soundfile.write(folder / f"{name}{take}.wav", SOUNDS[name](RATE // 2 + take * 99, RATE), RATE)
    rows = [
        {
            "file": f"{name}{take}.wav",
            "fold": take + 1,
            "label": f"a_{name}",
            "caption_1": f"this is {name}",
            "caption_2": "",
        }
        for name in NAMES
        for take in range(2)
    ]
    write_table(folder / "labels.csv", rows)
    return folder


# reading


def test_labels_csv(sounds: Path) -> None:
    dataset = read_dataset(sounds)
    assert dataset.labels == ("a drums", "a rain", "a tone")
    assert len(dataset.items) == 6
    assert dataset.items[0].path == sounds / "tone0.wav"
    assert dataset.items[0].captions == ("this is tone",)
    assert read_dataset(sounds / "labels.csv").items == dataset.items


def test_folds(sounds: Path) -> None:
    assert [item.path.stem for item in read_dataset(sounds, folds=["2"]).items] == ["tone1", "drums1", "rain1"]
    with pytest.raises(DatasetError, match="no fold 5; it has 1, 2"):
        read_dataset(sounds, folds=["5"])


def test_esc50s_layout(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "1-1-A-0.wav").touch()
    row = {"filename": "1-1-A-0.wav", "fold": 1, "target": 0, "category": "crying_baby", "esc10": False}
    write_table(tmp_path / "meta" / "esc50.csv", [row])
    (item,) = read_dataset(tmp_path).items
    assert (item.label, item.path) == ("crying baby", tmp_path / "audio" / "1-1-A-0.wav")


def test_folders_of_classes(tmp_path: Path) -> None:
    for name in ("a/x.wav", "b_c/y.FLAC", "b_c/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    dataset = read_dataset(tmp_path)
    assert [(item.label, item.path.name) for item in dataset.items] == [("a", "x.wav"), ("b c", "y.FLAC")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no rows"),
        ("file,label\n", "no rows"),
        ("name,label\nx.wav,dog\n", "one of file, filename"),
        ("file,what\nx.wav,dog\n", "one of label, category"),
        (b"\xff\xfe\xfa", "cannot be read as a CSV"),
        ("file,label\n,dog\n", "names no sound"),
    ],
)
def test_tables_that_cannot_be(tmp_path: Path, content: str | bytes, words: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=words):
        read_dataset(tmp_path)


def test_datasets_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file or folder"):
        read_dataset(tmp_path / "none")
    with pytest.raises(DatasetError, match="neither a CSV file nor folders"):
        read_dataset(tmp_path)


# scoring


def test_zero_shot_counts() -> None:
    labels = [f"label {number}" for number in range(7)]
    text = np.eye(7, dtype=np.float32)
    audio = np.zeros((4, 7), np.float32)
    audio[0, 0] = audio[1, 1] = 1  # right, right
    audio[2] = [0.1, 0.9, 0.5, 0, 0, 0, 0]  # of 2, taken for 1, among the first five
    audio[3] = [6, 5, 4, 3, 2, 1, 0]  # of 6, ranked last
    result = zero_shot(audio, text, np.array([0, 1, 2, 6]), labels, "{}")
    assert (result.top1, result.top5) == (0.5, 0.75)
    assert result.confusion[2, 1] == result.confusion[6, 0] == result.confusion[0, 0] == 1
    assert result.confusion.sum() == 4
    assert result.by_class["label 1"] == (1, 1.0, 0.5)
    assert result.by_class["label 2"][:2] == (1, 0.0)
    assert np.isnan(result.by_class["label 3"][1])
    assert json.loads(json.dumps(result.to_dict()))["classes"]["label 3"]["recall"] is None


def test_retrieval_by_hand() -> None:
    cosines = np.array([[3, 2, 1], [3, 2, 1], [1, 2, 3]], np.float32)
    right = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]], bool)
    result = retrieval(cosines, right)
    assert result.recall == {1: pytest.approx(1 / 3), 5: 1.0, 10: 1.0}
    assert result.map10 == pytest.approx((1 + 1 / 3 + (1 / 2 + 2 / 3) / 2) / 3)
    far = retrieval(-np.arange(12, dtype=np.float32)[None], np.eye(12, dtype=bool)[11:])
    assert (far.recall[10], far.map10) == (0, 0)


def test_retrieval_as_laion_numbers_it() -> None:
    """Five captions at the ranks 9, 8, 7, 6, 0 (from 0), in this order: 1/10 + 2/9 + 3/8 + 4/7 + 5/1, by 5."""
    cosines = -np.arange(12, dtype=np.float32)[None]
    right = np.zeros((1, 12), bool)
    cosines = cosines[:, [9, 8, 7, 6, 0, 1, 2, 3, 4, 5, 10, 11]]
    right[0, :5] = True
    laion = retrieval(cosines, right, "laion")
    assert laion.map10 == pytest.approx((1 / 10 + 2 / 9 + 3 / 8 + 4 / 7 + 5) / 5)
    assert laion.map10 > 1
    assert retrieval(cosines, right).map10 == pytest.approx((1 + 2 / 7 + 3 / 8 + 4 / 9 + 5 / 10) / 5)
    one = np.eye(12, dtype=bool)[[3]]
    assert retrieval(cosines, one, "laion").map10 == retrieval(cosines, one).map10 == pytest.approx(1 / 7)
    with pytest.raises(OptionError, match="convention='dcase' is not known"):
        retrieval(cosines, right, "dcase")


def test_evaluate_is_embedding_and_ranking(clap: claprt.Clap, sounds: Path) -> None:
    dataset = read_dataset(sounds)
    result = evaluate(clap, dataset, templates=["{}", "the sound of {}"])
    audio = clap.embed_audio([item.path for item in dataset.items])
    said = (audio @ clap.embed_text(list(dataset.labels)).T).argmax(1)
    truth = [dataset.labels.index(str(item.label)) for item in dataset.items]
    assert result.zero_shot[0].top1 == np.mean(said == truth)
    assert result.zero_shot[1].template == "the sound of {}"
    assert result.text_to_audio is not None
    assert result.audio_to_text is not None
    assert result.text_to_audio.queries == 6
    cosines = clap.embed_text([item.captions[0] for item in dataset.items]) @ audio.T
    assert result.text_to_audio.recall[1] == np.mean(cosines.argmax(1) == np.arange(6))
    assert result.audio_to_text.recall[1] == np.mean(cosines.argmax(0) == np.arange(6))
    assert json.loads(json.dumps(result.to_dict()))["sounds"] == 6


def test_an_ensemble_is_the_mean_of_its_templates(clap: claprt.Clap, sounds: Path) -> None:
    dataset = read_dataset(sounds)
    templates = ["{}", "the sound of {}", "{} in a room"]
    first, *_, together = evaluate(clap, dataset, templates=templates, ensemble=True).zero_shot
    assert (together.template, together.templates) == ("mean of 3 templates", tuple(templates))
    assert first.templates == ()
    texts = [clap.embed_text([template.replace("{}", label) for label in dataset.labels]) for template in templates]
    mean = np.mean(texts, axis=0)
    cosines = clap.embed_audio([item.path for item in dataset.items]) @ (mean / np.linalg.norm(mean, axis=1)[:, None]).T
    truth = np.array([dataset.labels.index(str(item.label)) for item in dataset.items])
    own = cosines[np.arange(6), truth]
    assert together.ranks.tolist() == (cosines > own[:, None]).sum(1).tolist()
    with pytest.raises(OptionError, match="give two at least"):
        evaluate(clap, dataset, ensemble=True)


def test_published_labels_and_sentence(clap: claprt.Clap, sounds: Path) -> None:
    with pytest.raises(DatasetError, match="sounds of a drums, a rain, a tone, which are not among the labels"):
        evaluate(clap, read_dataset(sounds), published="laion-esc50")
    rows = [{"file": f"{name}0.wav", "label": label} for name, label in (("rain", "sea_waves"), ("tone", "siren"))]
    dataset = read_dataset(write_table(sounds / "two.csv", rows))
    result = evaluate(clap, dataset, published="mteb-esc50").zero_shot[0]
    assert (len(result.labels), result.template) == (50, "This is a sound of {}")
    sentences = [f"This is a sound of {label.replace(' ', '_')}" for label in result.labels]
    cosines = clap.embed_audio([item.path for item in dataset.items]) @ clap.embed_text(sentences).T
    own = cosines[[0, 1], [result.labels.index("sea waves"), result.labels.index("siren")]]
    assert result.ranks.tolist() == (cosines > own[:, None]).sum(1).tolist()


def test_intervals_of_accuracy() -> None:
    audio, text = np.eye(10, dtype=np.float32), np.eye(10, dtype=np.float32)[[0, 1, 2, 3, 4, 5, 6, 7, 9, 8]]
    result = zero_shot(audio, text, np.arange(10), [f"label {number}" for number in range(10)], "{}")
    interval = result.top1_interval
    assert result.top1 == 0.8
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson's, of 8 in 10
    assert result.to_dict()["top1_interval"]["method"] == "Wilson"


def test_labels_may_be_more_but_not_fewer(clap: claprt.Clap, sounds: Path) -> None:
    dataset = read_dataset(sounds)
    more = evaluate(clap, dataset, labels=[*dataset.labels, "nothing"])
    assert more.zero_shot[0].confusion.shape == (4, 4)
    with pytest.raises(DatasetError, match="sounds of a rain"):
        evaluate(clap, dataset, labels=["a tone", "a drums"])
    with pytest.raises(OptionError, match="for the label"):
        evaluate(clap, dataset, templates=["a sound"])


def test_a_bad_sound_is_not_left_out(clap: claprt.Clap, sounds: Path) -> None:
    soundfile.write(sounds / "tone0.wav", np.zeros(0), RATE)
    with pytest.raises(EmptyAudioError, match=r"tone0\.wav"):
        evaluate(clap, read_dataset(sounds))


# the command


def test_command(bundle: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = tmp_path / "scores.json"
    assert main(["evaluate", "--dataset", str(sounds), "-o", str(scores), "--bundle", str(bundle)]) == 0
    printed = capsys.readouterr().out
    assert "6 sounds of set" in printed
    assert "'This is a sound of {}.': top-1 " in printed
    assert "a drums" in printed
    assert "text to audio, 6 queries: R@1 " in printed
    kept = json.loads(scores.read_text())
    assert kept["zero_shot"][0]["top1"] == pytest.approx(float(printed.split("top-1 ")[1].split()[0]), abs=1e-4)


def test_command_with_a_probe_and_another_model(
    bundle: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn: the evaluate extra")
    scores = tmp_path / "scores.json"
    asked = [
        "evaluate",
        "--dataset",
        str(sounds),
        "--bundle",
        str(bundle),
        "--against",
        "mini",
        "--shots",
        "1",
        "-o",
        str(scores),
    ]
    assert main([*asked, "--template", "{}", "--template", "the sound of {}", "--ensemble"]) == 0
    printed = capsys.readouterr().out
    assert "zero-shot, the mean of 2 templates: top-1 " in printed
    assert "linear probe, 1 sounds of each class: " in printed
    assert "against mini/laion/windows-10s/fp32/" in printed
    kept = json.loads(scores.read_text())
    assert len(kept["linear_probe"]["accuracies"]) == 10
    other = kept["against"]
    assert [len(kept["zero_shot"]), len(other["zero_shot"]), len(other["differences"])] == [3, 3, 3]
    for one, two, difference in zip(kept["zero_shot"], other["zero_shot"], other["differences"], strict=True):
        assert difference["difference"] == pytest.approx(one["top1"] - two["top1"])
        assert difference["only_first"] - difference["only_second"] == round(6 * (one["top1"] - two["top1"]))
    assert other["fingerprint"].startswith("mini/")


def test_what_was_trained_on_is_no_test(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--dataset", str(sounds), "--json", "-", "--bundle", "mini"]) == 0
    captured = capsys.readouterr()
    assert "mini was trained on ESC-10" in captured.err
    assert "ESC-10" in json.loads(captured.out)["trained_on"]


def test_command_to_standard_output(bundle: Path, sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--fold", "1", "--template", "{}", "--template", "x {}", "--json", "-", "--bundle", str(bundle)]
    assert main(["evaluate", "--dataset", str(sounds), *arguments]) == 0
    kept = json.loads(capsys.readouterr().out)
    assert (kept["sounds"], len(kept["zero_shot"])) == (3, 2)


def test_json_is_a_switch(bundle: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "--bundle", str(bundle), "--dataset", str(sounds)]
    kept = tmp_path / "kept.json"
    assert main([*asked, "--json", "--fold", "1", "-o", str(kept)]) == 0
    captured = capsys.readouterr()
    assert captured.err.endswith(f"wrote {kept}\n")
    assert json.loads(captured.out)["sounds"] == 3
    assert json.loads(kept.read_text()) == json.loads(captured.out)
    assert "deprecated" not in captured.err
    old = tmp_path / "old.json"  # as release 0.1.0 had it
    assert main([*asked, "--fold", "1", "--json", str(old)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("3 sounds of ")
    assert old.read_text() == kept.read_text()
    assert f"--json FILE is deprecated; write -o {old}." in captured.err


def test_classes_that_are_named(bundle: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a tone\na drums\na rain\nrain, heavy\n")
    assert main(["evaluate", "--bundle", str(bundle), "--dataset", str(sounds), "--labels-file", str(names), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["zero_shot"][0]["labels"] == ["a tone", "a drums", "a rain", "rain, heavy"]


def test_picture(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: the evaluate extra")
    picture = tmp_path / "confusion.png"
    assert main(["evaluate", "--dataset", str(sounds), "--confusion", str(picture), "--bundle", str(bundle)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--json", "no/x.json"], "there is no folder no"),
        (["--json", "."], "is a folder"),
        (["--confusion", "x.xyz"], "let it end in .png"),
        (["--confusion", "noext"], "let it end in .png"),
        (["--labels", "a tone", "a tone"], "more than once"),
        (["--fold", "9"], "no fold 9"),
        (["--ensemble"], "give two at least"),
        (["--published", "laion-gtzan"], "not among the labels"),
        (["--shots", "2"], "ask for fewer shots"),
        (["--against-precision", "int8"], "int8 was asked for"),
        (["--against", "nothing"], "nothing"),
    ],
)
def test_refused_before_any_work(
    arguments: list[str],
    words: str,
    bundle: Path,
    sounds: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claprt.Clap, "iter_audio", None)
    assert main(["evaluate", "--dataset", str(sounds), "--bundle", str(bundle), *arguments]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert not captured.out


def test_no_confusion_without_labels(
    bundle: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: the evaluate extra")
    table = write_table(sounds / "captions.csv", [{"file": "tone0.wav", "caption": "a tone"}])
    assert main(["evaluate", "--dataset", str(table), "--confusion", str(tmp_path / "x.png"), "--bundle", str(bundle)]) == 1
    assert "no labels" in capsys.readouterr().err


def test_published_or_labels_of_ones_own(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--dataset", str(sounds), "--published", "laion-esc50", "--template", "{}"])
    assert "both were given" in capsys.readouterr().err


def test_headers_and_cells_as_people_write_them(sounds: Path) -> None:
    table = sounds / "other.csv"
    table.write_text("File, Label , Fold\ntone0.wav , a_tone ,1\n")
    (item,) = read_dataset(table, folds=[1]).items  # type: ignore[list-item]
    assert (item.path, item.label, item.fold) == (sounds / "tone0.wav", "a tone", "1")


def test_labels_with_underscores(clap: claprt.Clap, sounds: Path) -> None:
    result = evaluate(clap, read_dataset(sounds), labels=["a_tone", "a_drums", "a_rain"])
    assert result.zero_shot[0].labels == ("a tone", "a drums", "a rain")


@pytest.mark.parametrize("path", [None, 5, "", "x" * 5000, "a\0b"])
def test_no_path_at_all(path: Any) -> None:
    with pytest.raises(DatasetError):
        read_dataset(path)


def test_several_tables(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_table(tmp_path / name, [{"file": "x.wav", "label": "dog"}])
    with pytest.raises(DatasetError, match=r"a\.csv, b\.csv; name the one"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path / "b.csv").labels == ("dog",)


def test_a_cell_that_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_dataset(write_table(tmp_path / "labels.csv", [{"file": "x" * 5000, "label": "dog"}]))
