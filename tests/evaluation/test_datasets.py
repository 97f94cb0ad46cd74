"""Datasets from Parquet, webdataset's tar archives and libraries."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.errors import AudioError, DatasetError, FingerprintError, MissingDependencyError, OptionError
from claprt.evaluation.dataset import dataset_sounds
from claprt.evaluation.dataset_vectors import dataset_vectors
from claprt.evaluation.reading.columns import Columns
from claprt.evaluation.reading.read import read_dataset
from claprt.evaluation.zero_shot import evaluate

pytest.importorskip("pyarrow", reason="needs claprt[library]")

import pyarrow as pa
import pyarrow.parquet as pq

from claprt.library.create import index

RATE = 48_000
NAMES = ("tone", "drums", "rain")
CLASSES = {"info": {"features": {"label": {"names": ["a_rain", "a_tone", "a_drums"], "_type": "ClassLabel"}}}}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six sounds in folders that are their classes, and `labels.csv` in the folder above."""
    root = tmp_path_factory.mktemp("datasets")
    lines = ["file,label,caption"]
    for name in NAMES:
        (root / "sounds" / f"a_{name}").mkdir(parents=True)
        for take in range(2):
            file = root / "sounds" / f"a_{name}" / f"{take}.wav"
            soundfile.write(file, SOUNDS[name](RATE // 4 + take * 99, RATE), RATE)
            lines.append(f"{file.relative_to(root)},a_{name},the sound of {name}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def expected(sounds: Path, model: claprt.Clap) -> Any:
    return model.embed_audio(files_of(sounds))


@pytest.fixture(scope="module")
def model(bundle: Path) -> claprt.Clap:
    return claprt.load(bundle)


def files_of(sounds: Path) -> list[Path]:
    return [item.path for item in read_dataset(sounds / "labels.csv").items]


def write_table(
    path: Path, columns: Mapping[str, Any], *, classes: Mapping[str, Any] | None = None, row_group_size: int = 2
) -> Path:
    table = pa.table(dict(columns))
    if classes is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(classes)})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def write_tar(path: Path, members: Sequence[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownVariableType]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def as_struct(files: Sequence[Path]) -> list[dict[str, Any]]:
    return [{"bytes": file.read_bytes(), "path": file.name} for file in files]


# Parquet


def test_parquet_as_hugging_face_has_it(sounds: Path, tmp_path: Path, model: claprt.Clap, expected: Any) -> None:
    columns = {
        "audio": as_struct(files_of(sounds)),
        "label": [1, 1, 2, 2, 0, -1],
        "captions": [["a", "b"], ["c"], [], None, ["d"], ["e", " "]],
        "fold": [1, 2, 1, 2, 1, 2],
    }
    dataset = read_dataset(write_table(tmp_path / "x.parquet", columns, classes=CLASSES))
    assert [item.label for item in dataset.items] == ["a tone", "a tone", "a drums", "a drums", "a rain", None]
    assert [item.captions for item in dataset.items] == [("a", "b"), ("c",), (), (), ("d",), ("e",)]
    assert dataset_vectors(model, dataset).rows.tolist() == expected.tolist()
    second = read_dataset(tmp_path / "x.parquet", folds=["2"])
    assert dataset_vectors(model, second).rows.tolist() == expected[1::2].tolist()


def test_parquet_with_bytes_and_with_paths(sounds: Path, tmp_path: Path, model: claprt.Clap, expected: Any) -> None:
    files, labels = files_of(sounds), pa.array([f"a_{name}" for name in NAMES for _ in range(2)]).dictionary_encode()
    held = write_table(tmp_path / "bytes.parquet", {"bytes": [file.read_bytes() for file in files], "genre": labels})
    with pytest.raises(DatasetError, match=r"columns bytes, genre\. A class .* name others with --label-column"):
        read_dataset(held)
    dataset = read_dataset(held, columns=Columns(label="Genre"))
    assert dataset.labels == ("a drums", "a rain", "a tone")
    assert dataset_vectors(model, dataset).rows.tolist() == expected.tolist()
    twice = [str(file) for file in files for _ in range(2)]
    named = write_table(tmp_path / "paths.parquet", {"path": twice, "caption": [f"said {n}" for n in range(12)]})
    dataset = read_dataset(named)
    assert [item.captions for item in dataset.items][:2] == [("said 0", "said 1"), ("said 2", "said 3")]
    assert dataset_vectors(model, dataset).rows.tolist() == expected.tolist()


def test_a_row_whose_file_lies_beside_the_table(sounds: Path, model: claprt.Clap, expected: Any) -> None:
    """The struct of Hugging Face without bytes, in the same table as one with them."""
    files = files_of(sounds)[:2]
    rows = [{"bytes": None, "path": str(files[0].relative_to(sounds))}, *as_struct(files[1:])]
    dataset = read_dataset(write_table(sounds / "mixed.parquet", {"audio": rows, "label": ["x", "y"]}))
    assert dataset_vectors(model, dataset).rows.tolist() == expected[:2].tolist()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": ["x", "y"]}, "no column of sounds"),
        ({"bytes": [b"", b""], "label": [0, 1]}, "'label' holds no words, and nothing says what its values stand for"),
        ({"bytes": [b"", b""], "label": [b"x", b"y"]}, "'label' holds no words"),
        ({"bytes": [b"", b""], "label": [["x"], ["x", "y"]]}, "no single word. A sound has one class"),
        ({"bytes": [b"", b""], "caption": [[{"a": 1}], []]}, "which is no caption"),
        ({"path": ["no.wav", "none.wav"], "label": ["x", "y"]}, "2 of 2 sounds that are not there"),
    ],
)
def test_tables_that_cannot_be(tmp_path: Path, columns: Mapping[str, Any], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        read_dataset(write_table(tmp_path / "x.parquet", columns))


def test_columns_that_cannot_be(sounds: Path, tmp_path: Path) -> None:
    for columns in (Columns(label="genre"), Columns(captions=("said", "caption"))):
        with pytest.raises(DatasetError, match=r"no column '(genre|said)'; it has file, label, caption\."):
            read_dataset(sounds / "labels.csv", columns=columns)
    numbers = write_table(tmp_path / "n.parquet", {"bytes": [b"", b""], "label": [0, 7]}, classes=CLASSES)
    with pytest.raises(DatasetError, match="holds 7, and it names 3 classes"):
        read_dataset(numbers)
    with pytest.raises(DatasetError, match="'label' holds 0, a number"):
        read_dataset(write_table(tmp_path / "m.parquet", {"bytes": [b""], "label": [0]}), columns=Columns(label="label"))
    with pytest.raises(OptionError, match="captions as a tuple"):
        Columns(captions="caption")  # type: ignore[arg-type]


def test_columns_of_a_csv(sounds: Path) -> None:
    (sounds / "other.csv").write_text("file,label,said,caption\nx.wav,dog,woof,a dog\n")
    (item,) = read_dataset(sounds / "other.csv", columns=Columns(label="said", captions=("caption", "Label"))).items
    assert (item.label, item.captions) == ("woof", ("a dog", "dog"))


def test_text_is_a_caption_where_nothing_else_is(sounds: Path) -> None:
    (sounds / "text.csv").write_text("file,text\nx.wav,a dog\n")
    assert read_dataset(sounds / "text.csv").items[0].captions == ("a dog",)
    (sounds / "text.csv").write_text("file,text,label\nx.wav,a dog,dog\n")
    assert read_dataset(sounds / "text.csv").items[0].captions == ()


def test_damaged_tables(tmp_path: Path, sounds: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(DatasetError, match=r"x\.parquet cannot be read as a table of sounds"):
        read_dataset(tmp_path / "x.parquet")
    table = write_table(tmp_path / "y.parquet", {"audio": as_struct(files_of(sounds)), "label": ["x"] * 6})
    dataset = read_dataset(table)
    write_table(tmp_path / "y.parquet", {"audio": as_struct(files_of(sounds)[:2]), "label": ["x"] * 2})
    with pytest.raises(DatasetError, match="lacks 4 of 6 sounds"):
        list(dataset_sounds(dataset.items))


def test_null_bytes(tmp_path: Path, model: claprt.Clap) -> None:
    dataset = read_dataset(write_table(tmp_path / "x.parquet", {"bytes": [None, b"x"], "label": ["x", "y"]}))
    with pytest.raises(AudioError, match="its bytes are null"):
        dataset_vectors(model, dataset)


@pytest.mark.parametrize("stream", [True, False])
def test_arrow_as_save_to_disk_writes_it(
    sounds: Path, tmp_path: Path, model: claprt.Clap, expected: Any, *, stream: bool
) -> None:
    rows = {"audio": as_struct(files_of(sounds)), "label": [1, 1, 2, 2, 0, 0]}
    table = pa.table(rows).replace_schema_metadata({"huggingface": json.dumps(CLASSES)})
    (tmp_path / "test").mkdir()
    write = pa.ipc.new_stream if stream else pa.ipc.new_file
    with write(str(tmp_path / "test" / "data-00000-of-00001.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    (tmp_path / "test" / "state.json").write_text("{}")
    dataset = read_dataset(tmp_path)
    assert [item.label for item in dataset.items] == ["a tone", "a tone", "a drums", "a drums", "a rain", "a rain"]
    assert dataset_vectors(model, dataset).rows.tolist() == expected.tolist()


def test_a_table_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_table(tmp_path / "x.parquet", {"bytes": [b""], "label": ["rain"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"x\.parquet is read with pyarrow: pip install .*\[library\]"):
        read_dataset(file)


# webdataset


@pytest.mark.parametrize(("name", "mode"), [("000.tar", "w"), ("000.tar.gz", "w:gz")])
def test_shards(sounds: Path, tmp_path: Path, model: claprt.Clap, expected: Any, name: str, mode: str) -> None:
    members: list[tuple[str, bytes]] = []
    for number, file in enumerate(files_of(sounds)[:4]):
        said = {"text": [f"said {number}", "and"], "label": file.parent.name, "extra": {"deep": [1]}}
        members += [(f"./{number:03}.json", json.dumps(said).encode()), (f"./{number:03}.wav", file.read_bytes())]
    write_tar(tmp_path / name, members, mode)
    last = [("a/4.wav", files_of(sounds)[4].read_bytes()), ("a/4.cls", b"a_rain\n"), ("a/4.txt", b" said 4\n")]
    write_tar(tmp_path / name.replace("000", "001"), last, mode)
    dataset = read_dataset(tmp_path / f"0*{name[3:]}")
    assert [item.label for item in dataset.items] == ["a tone", "a tone", "a drums", "a drums", "a rain"]
    assert dataset.items[0].captions == ()
    assert read_dataset(tmp_path).items == dataset.items
    captioned = read_dataset(tmp_path, columns=Columns(captions=("text",)))
    assert [item.captions for item in captioned.items][3:] == [("said 3", "and"), ("said 4",)]
    assert dataset_vectors(model, dataset).rows.tolist() == expected[:5].tolist()


@pytest.mark.parametrize(("file", "mode"), [("x.tar", "w"), ("x.tar.gz", "w:gz")])
def test_names_that_are_not_utf_8(sounds: Path, tmp_path: Path, file: str, mode: str) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    members = [(f"{name}.wav", files_of(sounds)[0].read_bytes()), (f"{name}.json", b'{"label": "rain"}')]
    (item,) = read_dataset(write_tar(tmp_path / file, members, mode)).items
    assert (item.label, item.path.name) == ("rain", f"{file}::caf\\xe9.wav")
    assert [source.read(4) for source in dataset_sounds([item]) if isinstance(source, io.BytesIO)] == [b"RIFF"]


def test_a_compressed_shard_is_unpacked_once(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_tar(tmp_path / "x.tar.gz", [("0.wav", files_of(sounds)[0].read_bytes()), ("0.cls", b"rain")], "w:gz")
    opened, open_tar = list[str](), tarfile.open

    def opening(name: str, *args: Any, **options: Any) -> tarfile.TarFile:
        opened.append(name)
        return open_tar(name, *args, **options)

    monkeypatch.setattr(tarfile, "open", opening)
    assert [item.label for item in read_dataset(file).items] == ["rain"]
    assert opened == [str(file)]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("0.wav", b"")], "has the columns none"),
        ([("0.wav", b""), ("0.cls", b"3")], "'cls' holds no words"),
        ([("0.wav", b""), ("0.json", b"[1]")], r"0\.json is not a JSON object"),
        ([("0.wav", b""), ("0.json", b"{")], r"0\.json cannot be read as json"),
        ([("0.wav", b""), ("0.txt", b"\xff")], r"0\.txt cannot be read as txt"),
        ([("0.wav", b""), ("0.json", b'{"label": {"a": 1}}')], "no single word"),
        ([("0.txt", b"no sound")], "names no sound"),
    ],
)
def test_shards_that_cannot_be(tmp_path: Path, members: Sequence[tuple[str, bytes]], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        read_dataset(write_tar(tmp_path / "x.tar", members))


def test_damaged_shards(tmp_path: Path, sounds: Path) -> None:
    for name, mode in (("x.tar", "w"), ("x.tar.gz", "w:gz"), ("x.tar.xz", "w:xz")):
        file = write_tar(tmp_path / name, [("0.wav", files_of(sounds)[0].read_bytes()), ("0.txt", b"said")], mode)
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(DatasetError, match="cannot be read as a tar archive"):
            read_dataset(file)


def test_a_folder_of_several_splits(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write_table(tmp_path / "data" / f"{name}.parquet", {"bytes": [b""], "label": [name[:4]]})
    with pytest.raises(DatasetError, match=r"data/test, data/train\. Name one, as a pattern such as .*/data/test\*"):
        read_dataset(tmp_path)
    assert len(read_dataset(tmp_path / "data" / "train-*").items) == 2
    for split in ("train", "test"):
        (tmp_path / "folders" / split).mkdir(parents=True)
        write_table(tmp_path / "folders" / split / "0.parquet", {"bytes": [b""], "label": [split]})
    with pytest.raises(DatasetError, match=r"several sets of files: test, train\. Name one, such as .*/test\.$"):
        read_dataset(tmp_path / "folders")
    assert len(read_dataset(tmp_path / "folders" / "test").items) == 1
    with pytest.raises(DatasetError, match="No file matches"):
        read_dataset(tmp_path / "data" / "dev-*")


# libraries


@pytest.fixture(scope="module")
def library(sounds: Path, model: claprt.Clap) -> Path:
    index([str(sounds / "sounds")], sounds / "library", model)
    return sounds / "library"


def test_a_librarys_folders_are_classes(
    library: Path, sounds: Path, model: claprt.Clap, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "iter_audio", lambda sounds: iter(list(sounds)))
    dataset = read_dataset(library)
    files = files_of(sounds)
    assert [(item.path, item.label) for item in dataset.items] == [
        (file, file.parent.name.replace("_", " ")) for file in sorted(files)
    ]
    found = dataset_vectors(model, dataset)
    assert found.from_library == 6
    assert found.rows == pytest.approx(expected[np.argsort([str(file) for file in files])], abs=1e-6)


def test_vectors_of_a_library_for_any_dataset(
    library: Path, sounds: Path, tmp_path: Path, model: claprt.Clap, expected: Any
) -> None:
    """Those of the same content; files that have changed since are embedded."""
    rows: list[int] = []
    embed = model.iter_audio

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def iter_audio(self, sources: Any) -> Any:
            for sound in embed(sources):
                rows.append(1)
                yield sound

    counted: Any = Counted()
    found = dataset_vectors(counted, read_dataset(sounds / "labels.csv", library=library))
    assert (found.from_library, len(rows)) == (6, 0)
    assert found.rows == pytest.approx(expected, abs=1e-6)
    file = files_of(sounds)[3]
    before = file.stat()
    os.utime(file, (1e9, 1e9))
    try:
        found = dataset_vectors(counted, read_dataset(sounds / "labels.csv", library=library))
    finally:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (found.from_library, len(rows)) == (5, 1)
    assert found.rows == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["x.parquet", "x.tar"])
def test_vectors_of_archives(sounds: Path, tmp_path: Path, model: claprt.Clap, name: str, expected: Any) -> None:
    files = files_of(sounds)
    if name == "x.parquet":
        archive = write_table(tmp_path / name, {"audio": as_struct(files), "label": [file.parent.name for file in files]})
    else:
        members = [(f"{file.parent.name}/{file.name}", file.read_bytes()) for file in files]
        members += [(f"{file.parent.name}/{file.stem}.cls", file.parent.name.encode()) for file in files]
        archive = write_tar(tmp_path / name, members)
    index([str(archive)], tmp_path / "library", model)
    found = dataset_vectors(model, read_dataset(archive, library=tmp_path / "library"))
    assert found.from_library == 6
    assert found.rows == pytest.approx(expected, abs=1e-6)
    if name == "x.tar":
        dataset = read_dataset(tmp_path / "library")
        assert dataset.labels == ("a drums", "a rain", "a tone")
        assert dataset_vectors(model, dataset).from_library == 6
        with pytest.raises(DatasetError, match=r"name .*x\.tar itself as the dataset"):
            list(dataset_sounds(dataset.items))
    else:
        with pytest.raises(DatasetError, match="no sounds in two folders"):
            read_dataset(tmp_path / "library")


def test_vectors_of_another_model(library: Path, sounds: Path, model: claprt.Clap) -> None:
    with claprt.load("mini") as other, pytest.raises(FingerprintError) as refused:
        dataset_vectors(other, read_dataset(sounds / "labels.csv", library=library))
    assert model.fingerprint in str(refused.value)
    assert other.fingerprint in str(refused.value)


def test_vectors_that_are_no_numbers(library: Path, sounds: Path, tmp_path: Path, model: claprt.Clap) -> None:
    index([str(sounds / "sounds")], tmp_path / "bad", model)
    (part,) = (tmp_path / "bad" / "rows").glob("*.parquet")
    table = pq.read_table(part)
    vectors = np.array(table.column("embedding").to_pylist(), np.float32)
    vectors[2, 5] = np.nan
    kind = table.schema.field("embedding").type
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=kind)
    names = table.schema.names
    pq.write_table(table.set_column(names.index("embedding"), table.schema.field("embedding"), column), part)
    for read in (
        lambda: dataset_vectors(model, read_dataset(tmp_path / "bad")),
        lambda: claprt.score(reference=tmp_path / "bad", candidate=library, model=model),
    ):
        with pytest.raises(DatasetError, match=r"1 vectors with NaN or infinity, the first of .*\.wav"):
            read()


# the command


def test_command_on_a_library(library: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "--bundle", str(bundle)]
    assert main([*asked, "--dataset", str(library)]) == 0
    taken = capsys.readouterr().out
    assert "vectors of 6 sounds taken from the library" in taken
    assert main([*asked, "--dataset", str(library.parent / "sounds")]) == 0
    computed = capsys.readouterr().out
    top = [line for line in computed.splitlines() if "top-1" in line]
    assert top == [line for line in taken.splitlines() if "top-1" in line]
    assert main([*asked, "--dataset", str(library.parent / "labels.csv"), "--vectors", str(library), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["from_library"] == 6
    assert "were embedded" not in captured.err
    copy = library.parent / "copy.wav"
    copy.write_bytes(files_of(library.parent)[0].read_bytes())
    (library.parent / "copies.csv").write_text(f"file,label\n{copy},a\n{files_of(library.parent)[2]},b\n")
    assert main([*asked, "--dataset", str(library.parent / "copies.csv"), "--vectors", str(library)]) == 0
    assert f"1 of 2 sounds were embedded: {library} does not hold them" in capsys.readouterr().err


def test_command_with_columns(sounds: Path, tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = files_of(sounds)
    columns = {"audio": as_struct(files), "genre": [file.parent.name for file in files], "said": ["x"] * 6}
    asked = ["evaluate", "--bundle", str(bundle), "--dataset", str(write_table(tmp_path / "ü.parquet", columns)), "--json"]
    assert main([*asked, "--label-column", "genre", "--caption-column", "said"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sounds"], found["text_to_audio"]["queries"]) == (6, 6)
    assert found["zero_shot"][0]["labels"] == ["a drums", "a rain", "a tone"]
    assert main([*asked, "--label-column", "class"]) == 1
    captured = capsys.readouterr()
    assert "no column 'class'; it has genre, said." in captured.err
    assert not captured.out


def test_another_model_embeds_what_a_library_has_of_this_one(
    library: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--bundle", str(bundle), "--dataset", str(library), "--against", "mini", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["from_library"], found["against"]["from_library"]) == (6, 0)


def test_missing_files_are_named_before_any_work(
    sounds: Path, tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claprt.Clap, "iter_audio", None)
    (tmp_path / "x.csv").write_text(f"file,label\n{files_of(sounds)[0]},a\nno.wav,b\n")
    assert main(["evaluate", "--bundle", str(bundle), "--dataset", str(tmp_path / "x.csv")]) == 1
    assert "names 1 of 2 sounds that are not there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,label,caption\nx.wav,dog,a dog, barking\n", "Line 2 of .* has more fields than the header's 3"),
        ("file,label,Label\nx.wav,dog,cat\n", "the column label more than once"),
        ("file,label,caption\nx.wav,,\n", "neither a class nor a caption of any"),
        ("file;label\nx.wav;dog\n", "separates fields by semicolons"),
        ("file\tlabel\nx.wav\tdog\n", "separates fields by tabs"),
        ("file,label\nx.wav,dog\nx.wav,cat\n", r"several rows of .*x\.wav, whose class is 'dog' in one, 'cat' in another"),
        ("file,label,fold\nx.wav,dog,1\nx.wav,dog,2\n", "whose fold is '1' in one, '2' in another"),
    ],
)
def test_rows_that_contradict(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(DatasetError, match=words):
        read_dataset(tmp_path / "x.csv")


def test_one_class_is_no_choice(sounds: Path, model: claprt.Clap) -> None:
    (sounds / "one.csv").write_text(f"file,label\n{files_of(sounds)[0]},dog\n")
    with pytest.raises(DatasetError, match="one class, 'dog', so there is nothing to choose"):
        evaluate(model, read_dataset(sounds / "one.csv"))
    assert evaluate(model, read_dataset(sounds / "one.csv"), labels=["dog", "cat"]).zero_shot[0].labels == ("dog", "cat")


def test_rows_as_spreadsheets_write_them(tmp_path: Path) -> None:
    rows = '\ufefffile,label,caption 1,caption 2\r\nü/x.wav,dog,"a dog, barking",\r\nü/x.wav,dog,"said ""woof""",,,\r\n'
    (tmp_path / "x.csv").write_bytes(rows.encode())
    (item,) = read_dataset(tmp_path / "x.csv").items
    assert (item.path, item.captions) == (tmp_path / "ü" / "x.wav", ("a dog, barking", 'said "woof"'))
