"""A Triton model repository from a bundle: the committed configurations, checked against the manifest, and its graphs.

The configurations are read by eye and kept in `triton_repo/`. What is built is a copy with graphs, tokenizer and manifest
linked into the version folders, and three facts added to the towers' configurations: their precision, the manifest (which
clients read over the wire), and what TensorRT has to be told about a graph in fp16.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from claprt.bundle.folder import Bundle
from claprt.bundle.graphs import Precision
from claprt.bundle.manifest import MANIFEST_FILE, TOKENIZER_FILE
from claprt.errors import BundleNotFoundError, OptionError
from claprt.system.atomic import atomic_folder
from claprt.triton.repository.lint import ENGINE_CACHE, STAGES, RepositoryError, check, config_files

TOWERS = ("audio_tower", "text_tower")
SERVED = (Precision.FP32, Precision.INT8, Precision.FP16, Precision.INT8_SYMMETRIC)
_INT8 = frozenset({Precision.INT8, Precision.INT8_SYMMETRIC})


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What to build."""

    bundle: Bundle
    precision: Precision = Precision.FP32
    version: int = 1
    tensorrt: int = 10
    """Major version of the TensorRT that will read graphs in fp16; 11 takes the precision from the graph alone."""
    plans: Path | None = None
    """Folder of engines that `claprt_export.graphs.tensorrt` built."""
    queue: int | None = None
    """Requests that may wait for a model, each for ten seconds; more are rejected. By default there is no limit, because
    with one Triton now and then leaves a request for half a second beside an idle instance (docs/triton.md)."""
    build: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Name of this build, by which clients notice that a server was replaced."""

    def __post_init__(self) -> None:
        if self.precision not in SERVED:
            raise OptionError(
                f"Precision {self.precision} is not one that a graph on a server can have; choose {', '.join(SERVED)}. "
                "(bf16 is how OpenVINO runs the fp32 graph in process.)"
            )
        if self.version < 1:
            raise OptionError(f"version={self.version} is not possible; Triton counts versions from 1.")
        if self.queue is not None and self.queue < 1:
            raise OptionError(f"queue={self.queue} is not possible; give at least 1, or None for no limit.")


def source_folder() -> Path:
    """Where the committed configurations lie: in the package, or beside it in a checkout.

    Raises:
        BundleNotFoundError: they are in neither place.
    """
    here = Path(__file__).resolve()
    for folder in (here.parents[2] / "triton_repo", here.parents[4] / "triton_repo"):
        if (folder / "audio_tower" / "config.pbtxt").is_file():
            return folder
    raise BundleNotFoundError("The configurations of the Triton repository are missing from this installation.")


def build(wanted: Build, out: Path, source: Path | None = None) -> Path:
    """Write the repository to `out`; other versions that are there already are kept.

    Args:
        wanted: the bundle, and how to serve it.
        out: folder of the repository; it appears whole or not at all.
        source: folder of the configurations; by default those of this release.

    Raises:
        BundleError: a file of the bundle is missing or altered.
        OptionError: the bundle does not have the precision; or `out` holds what is none of this function's.
        RepositoryError: a configuration does not agree with the manifest; every disagreement is named.
    """
    source, out = source or source_folder(), out.resolve()
    _refuse_foreign(out, {path.name for path in source.iterdir()})
    later = sorted(number for _, number in _versions(out) if number > wanted.version)
    if later:
        raise OptionError(
            f"{out} holds version {later[-1]}, which a server would serve under the facts of version {wanted.version}; "
            "give a later version, or remove the folder."
        )
    wanted.bundle.verify()
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(out) as folder:
        for model in sorted(path.name for path in source.iterdir() if (path / "config.pbtxt").is_file()):
            _copy_model(source / model, folder / model, wanted)
        found = check(folder, wanted.bundle.manifest, wanted.precision)
        if found:
            raise RepositoryError("The configurations do not fit the bundle: " + "; ".join(found) + ".")
        if out.exists():
            _keep_versions(out, folder, wanted.version)
    return out


def _refuse_foreign(out: Path, models: set[str]) -> None:
    """Whatever is replaced must have been built here: somebody's models, or a bundle, are not deleted.

    Raises:
        OptionError: If the folder holds something that was not built here.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise OptionError(f"{out} is a file; name a folder.")
    entries = sorted(path.name for path in out.iterdir())
    foreign = [name for name in entries if name not in models]
    config = out / "audio_tower" / "config.pbtxt"
    ours = config.is_file() and 'key: "build"' in config.read_text(encoding="utf-8", errors="replace")
    if foreign or (entries and not ours):
        what = foreign[0] if foreign else "models"
        raise OptionError(
            f"{out} holds {what}, not a repository that `claprt triton` built; name another folder, or empty it."
        )


def _copy_model(source: Path, target: Path, wanted: Build) -> None:
    version = target / str(wanted.version)
    version.mkdir(parents=True)
    fused = source / "fused" if wanted.bundle.manifest.audio.fused and (source / "fused").is_dir() else source
    shutil.copy2(fused / "config.pbtxt", target / "config.pbtxt")
    if (fused / "configs").is_dir():
        shutil.copytree(fused / "configs", target / "configs")
    for path in (source / "1").glob("*.py"):  # installers leave byte-compiled files beside them
        shutil.copy2(path, version / path.name)
    if wanted.queue is not None:
        for path in config_files(target):
            path.write_text(_with_queue(path.read_text(encoding="utf-8"), wanted.queue), encoding="utf-8")
    name = source.name
    for file, origin in _files(name, wanted).items():
        _link(origin, version / file)
    if name in (*TOWERS, "tokenizer"):
        for path in config_files(target):
            _add_facts(path, name, wanted)
    if not (version / "model.plan").exists():
        (target / "configs" / "tensorrt.pbtxt").unlink(missing_ok=True)


def _with_queue(text: str, limit: int) -> str:
    """A configuration whose queue has a limit. Where nothing is batched, the batcher is there for its queue alone."""
    if 'platform: "ensemble"' in text:
        return text
    policy = f"""  default_queue_policy {{
    max_queue_size: {limit}
    timeout_action: REJECT
    default_timeout_microseconds: 10000000
    allow_timeout_override: true
  }}
"""
    if "dynamic_batching {\n" not in text:
        return f"{text.rstrip()}\ndynamic_batching {{\n{policy}}}\n"
    return text.replace("dynamic_batching {\n", f"dynamic_batching {{\n{policy}", 1)


def _files(model: str, wanted: Build) -> dict[str, Path]:
    """What lies in a model's version folder, by the name that it has there.

    Raises:
        BundleNotFoundError: If an engine of TensorRT is missing.
    """
    bundle, manifest = wanted.bundle, wanted.bundle.manifest
    files: dict[str, Path] = {}
    if model in STAGES:
        graph = bundle.graph_path(STAGES[model], wanted.precision)
        files |= {"model.onnx": graph, manifest.graph(STAGES[model], wanted.precision).file: graph}
        if wanted.plans is not None and model in TOWERS:
            plan = wanted.plans / f"{STAGES[model]}.{wanted.precision}.plan"
            if not plan.is_file():
                raise BundleNotFoundError(
                    f"There is no engine {plan}; python -m claprt_export.graphs.tensorrt builds them."
                )
            files["model.plan"] = plan
    if model == "tokenizer":
        files[TOKENIZER_FILE] = bundle.tokenizer_path
    if model in {*STAGES, "tokenizer", "decode", "zero_shot"}:
        files[MANIFEST_FILE] = bundle.path / MANIFEST_FILE
    return files


def _link(origin: Path, target: Path) -> None:
    try:
        os.link(origin.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(origin, target)


def _add_facts(path: Path, model: str, wanted: Build) -> None:
    text = path.read_text(encoding="utf-8")
    manifest = msgspec.json.encode(wanted.bundle.manifest)
    facts = {"bundle": hashlib.sha256(manifest).hexdigest()[:16], "build": wanted.build}
    if model in TOWERS:
        text = _for_tensorrt(text, model, wanted)
        facts["precision"] = str(wanted.precision)
    if model == "audio_tower":
        facts["manifest"] = manifest.decode()
    lines = (f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}' for key, value in facts.items())
    path.write_text("\n".join([text.rstrip(), *lines]) + "\n", encoding="utf-8")


def _for_tensorrt(text: str, model: str, wanted: Build) -> str:
    """What TensorRT has to be told of this very graph."""
    if wanted.precision in _INT8:
        # onnxruntime's own kernels run them: TensorRT takes no unsigned bytes, and the others as plans
        return re.sub(r"(?ms)^optimization \{.*?^\}\n", "", text)
    digest = wanted.bundle.manifest.graph(STAGES[model], wanted.precision).sha256[:12]
    text = text.replace(f'"{ENGINE_CACHE}"', f'"{ENGINE_CACHE}-{digest}"')
    if wanted.precision is Precision.FP16 and wanted.tensorrt < 11:
        marker = '        parameters { key: "max_workspace_size_bytes"'
        told = (("precision_mode", "FP16"), ("trt_layer_norm_fp32_fallback", "true"))
        lines = "".join(f'        parameters {{ key: "{key}" value: "{value}" }}\n' for key, value in told)
        text = text.replace(marker, lines + marker, 1)
    return text


def _keep_versions(old: Path, new: Path, version: int) -> None:
    for model, number in _versions(old):
        if number != version and (new / model).is_dir():
            shutil.copytree(old / model / str(number), new / model / str(number), copy_function=_relinked)


def _relinked(origin: str, target: str) -> str:
    _link(Path(origin), Path(target))
    return target


def _versions(folder: Path) -> Iterator[tuple[str, int]]:
    for path in folder.glob("*/*"):
        if path.name.isdigit() and path.is_dir():
            yield path.parent.name, int(path.name)
