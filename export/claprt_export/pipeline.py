"""From a checkpoint to a bundle: load, trace, verify, write; and nothing is left behind unless all of it went well."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import onnx
import tokenizers

import claprt
from claprt.bundle.digests import sha256_of
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import FileInfo, ParityReport, Precision, Stage
from claprt.bundle.manifest import (
    MANIFEST_FILE,
    SCHEMA,
    TOKENIZER_FILE,
    AudioConfig,
    Manifest,
    Source,
    TaggingCalibration,
    TextConfig,
    parse_manifest,
)
from claprt.bundle.published import published_name
from claprt.checkpoints.resolve import TOKENIZER_VARIABLE
from claprt.evaluation.dataset import Dataset
from claprt_export.architecture import TextArchitecture
from claprt_export.atomic import new_folder
from claprt_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from claprt_export.checkpoints.download import CHECKPOINT_VARIABLE, download_checkpoint, download_tokenizer, is_published
from claprt_export.checkpoints.random_weights import ARCHITECTURES, seeded_checkpoint
from claprt_export.checkpoints.tokenizer import byte_level_tokenizer, check_tokenizer, read_tokenizer
from claprt_export.checkpoints.variants import Variant, variant
from claprt_export.errors import CheckpointError, ExportError
from claprt_export.graphs.compress_constants import compact
from claprt_export.graphs.log_mel_graph import log_mel_graph
from claprt_export.graphs.onnx_metadata import OPSET, finished, graph_facts
from claprt_export.graphs.to_onnx import audio_graph, text_graph
from claprt_export.parity import check_audio, check_log_mel, check_text
from claprt_export.precision.carry_over import with_additions
from claprt_export.precision.lower import Exported, Material, with_lowered

Report = Callable[[str], None]


def _say_nothing(line: str) -> None:
    del line


_TOOLS = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "tokenizers")


def export_bundle(
    out: Path,
    *,
    name: str | None = None,
    checkpoint: Path | None = None,
    tokenizer: Path | None = None,
    precisions: Sequence[Precision] = (Precision.FP32,),
    calibration: Dataset | None = None,
    judged_on: Dataset | None = None,
    force: bool = False,
    force_precision: bool = False,
    report: Report = _say_nothing,
) -> Manifest:
    """Export one checkpoint.

    Args:
        out: folder of the bundle; it appears when the export has succeeded, whole.
        name: a variant. May be left out where a checkpoint is given.
        checkpoint: a `.pt` file or a folder; by default what `CLAP_CHECKPOINT_PATH` names, then the variant's own.
        tokenizer: a `tokenizer.json` or a folder with one; by default the checkpoint's, then what `CLAPRT_TOKENIZER` names,
            then RoBERTa-base's.
        precisions: which graphs to write; fp32 is always among them.
        calibration: sounds to take the ranges of int8 from, beside synthesised ones.
        judged_on: labelled sounds to judge lowered precisions by, instead of synthesised ones.
        force: replaces a bundle that is already there; of the same checkpoint, its projection and calibration are kept.
        force_precision: keeps and marks a precision that the quality gate refuses.
        report: is told what is being done.

    Returns:
        The manifest that was written.

    Raises:
        ExportError: nothing was written; the message says why.
    """
    row = variant(name) if name else None
    with new_folder(out, replace=_is_bundle if force else None) as folder:
        found = _load(row, checkpoint, tokenizer, report)
        manifest, towers = _fill(folder, found, report)
        lowered = [precision for precision in Precision if precision in precisions and precision is not Precision.FP32]
        if lowered:
            report(f"lowering to {', '.join(lowered)} and judging")
            material = Material(calibration=calibration, judged_on=judged_on, forced=force_precision)

            def finish(model: onnx.ModelProto, stage: Stage, precision: Precision) -> Path:
                path = folder / _graph_file(stage, precision)
                _save(model, path, stage, precision, found)
                return path

            manifest = with_lowered(manifest, towers, lowered, found.tokenizer, material, finish, report)
        manifest = with_additions(manifest, out, folder, report)
        (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        read_bundle(folder).verify()
    return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    checkpoint: Checkpoint
    tokenizer: tokenizers.Tokenizer
    source: Source
    tagging: TaggingCalibration | None = None


def _load(row: Variant | None, path: Path | None, tokenizer: Path | None, report: Report) -> _Loaded:
    stated = os.environ.get(CHECKPOINT_VARIABLE)
    if path is None and row is None and stated and published_name(stated) and not Path(stated).exists():
        row, stated = variant(stated), None
    if row is not None and row.layout == "seeded" and path is None:
        return _load_seeded(row, tokenizer, report)
    if path is None and stated:
        path = Path(stated)
    if path is None and row is None:
        raise ExportError(
            f"Nothing to export: name a variant, or a file with --checkpoint or {CHECKPOINT_VARIABLE}. "
            "untrained-tiny needs neither a file nor a network."
        )
    published = row
    if path is None and row is not None and row.packaged is not None:
        path, tokenizer = row.packaged, tokenizer or row.packaged.parent
    elif path is None and row is not None:
        path = download_checkpoint(row)
    elif path is not None and row is not None and not is_published(path, row):
        report(f"{path.name} cannot be told to be the published {row.name}, so it goes by its own name")
        published = None
    assert path is not None
    report(f"reading {path.name}")
    checkpoint = read_checkpoint(path, published.name if published else None)
    report(f"recognised {checkpoint.audio.name} with {checkpoint.text.name}")
    return _Loaded(
        checkpoint=checkpoint,
        tokenizer=_tokenizer(checkpoint, tokenizer),
        source=Source(
            name=checkpoint.name,
            sha256=checkpoint.sha256,
            layout=checkpoint.layout,
            trained=checkpoint.trained,
            repository=published.repository if published else None,
            revision=published.revision if published else None,
            licence=published.licence if published else None,
            trained_on=published.trained_on if published else None,
            trained_words=published.trained_words() if published else "",
        ),
        tagging=published.tagging() if published else None,
    )


def _load_seeded(row: Variant, tokenizer: Path | None, report: Report) -> _Loaded:
    found = byte_level_tokenizer() if tokenizer is None else read_tokenizer(tokenizer)
    text = TextArchitecture(vocabulary=found.get_vocab_size(with_added_tokens=True))
    check_tokenizer(found, text)
    report(f"drawing untrained weights for {row.name}")
    checkpoint = seeded_checkpoint(row.name, ARCHITECTURES[row.name], text)
    source = Source(name=row.name, sha256=checkpoint.sha256, layout="seeded", trained=False)
    return _Loaded(checkpoint=checkpoint, tokenizer=found, source=source)


def _tokenizer(checkpoint: Checkpoint, given: Path | None) -> tokenizers.Tokenizer:
    beside = checkpoint.folder
    if (
        given is None
        and beside is not None
        and not ((beside / "tokenizer.json").is_file() or (beside / "vocab.json").is_file())
    ):
        beside = None
    stated = os.environ.get(TOKENIZER_VARIABLE)
    tokenizer = read_tokenizer(given or beside or (Path(stated) if stated else download_tokenizer()))
    check_tokenizer(tokenizer, checkpoint.text)
    return tokenizer


def _fill(folder: Path, loaded: _Loaded, report: Report) -> tuple[Manifest, dict[Stage, Exported]]:
    checkpoint = loaded.checkpoint
    try:
        audio = AudioConfig(
            architecture=checkpoint.audio.name, mel=checkpoint.mel, fused=checkpoint.audio.fused, fill=checkpoint.fill
        )
        text = TextConfig(
            architecture=checkpoint.text.name,
            pad_token_id=checkpoint.text.pad_token_id,
            vocabulary=checkpoint.text.vocabulary,
        )
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.name} has sizes that no manifest states: {error}.") from error
    paths = {stage: folder / _graph_file(stage, Precision.FP32) for stage in Stage}
    parity: list[ParityReport] = []

    report("writing the log-mel graph")
    _save(log_mel_graph(audio, OPSET), paths[Stage.LOG_MEL], Stage.LOG_MEL, Precision.FP32, loaded)
    parity.append(check_log_mel(paths[Stage.LOG_MEL], audio))

    report(f"tracing and checking {audio.architecture}")
    audio_tower = checkpoint.audio_tower()
    traced_audio = audio_graph(audio_tower, audio.frames)
    _save(traced_audio, paths[Stage.AUDIO], Stage.AUDIO, Precision.FP32, loaded)
    parity.append(check_audio(paths[Stage.AUDIO], audio_tower, audio, Precision.FP32, trained=checkpoint.trained))

    report(f"tracing and checking {text.architecture}")
    text_tower = checkpoint.text_tower()
    traced_text = text_graph(text_tower)
    _save(traced_text, paths[Stage.TEXT], Stage.TEXT, Precision.FP32, loaded)
    parity.append(
        check_text(
            paths[Stage.TEXT],
            text_tower,
            loaded.tokenizer,
            text.max_tokens,
            Precision.FP32,
            trained=checkpoint.trained,
        )
    )

    tokenizer_file = folder / TOKENIZER_FILE
    loaded.tokenizer.save(str(tokenizer_file))
    scale_a, scale_t = checkpoint.logit_scales
    manifest = Manifest(
        schema=SCHEMA,
        name=checkpoint.name,
        source=loaded.source,
        embedding_dim=checkpoint.audio.joint_dim,
        logit_scale_a=scale_a,
        logit_scale_t=scale_t,
        audio=audio,
        text=text,
        opset=OPSET,
        graphs={stage: {Precision.FP32: graph_facts(path)} for stage, path in paths.items()},
        files={TOKENIZER_FILE: FileInfo(sha256=sha256_of(tokenizer_file), bytes=tokenizer_file.stat().st_size)},
        parity=tuple(parity),
        tagging=loaded.tagging,
        tools={"claprt": claprt.__version__, **{tool: version(tool) for tool in _TOOLS}},
    )
    return manifest, {
        Stage.AUDIO: Exported(module=audio_tower, graph=traced_audio, path=paths[Stage.AUDIO]),
        Stage.TEXT: Exported(module=text_tower, graph=traced_text, path=paths[Stage.TEXT]),
    }


def _graph_file(stage: Stage, precision: Precision) -> str:
    return f"{stage}.onnx" if stage is Stage.LOG_MEL else f"{stage}.{precision}.onnx"


def _save(model: onnx.ModelProto, path: Path, stage: Stage, precision: Precision, loaded: _Loaded) -> None:
    source = loaded.source
    if loaded.checkpoint.half:
        model = compact(model)
    metadata = {
        "claprt": claprt.__version__,
        "stage": str(stage),
        "precision": str(precision),
        "checkpoint": source.name,
        "checkpoint_sha256": source.sha256,
        "trained": "yes" if source.trained else "no: seeded weights, vectors mean nothing",
    }
    onnx.save(finished(model, metadata), path)


def _is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle and nothing else, so that replacing it loses nothing."""
    try:
        listed = parse_manifest((folder / MANIFEST_FILE).read_bytes(), folder / MANIFEST_FILE).listed_files()
    except (OSError, claprt.ClaprtError):
        return False
    return {path.name for path in folder.iterdir()} <= {*listed, MANIFEST_FILE}
