"""TensorRT-RTX engines, built ahead of time on any machine and kept in the bundle.

TensorRT-RTX is NVIDIA's TensorRT for RTX cards. Its builder needs no GPU: it is told for which cards an engine shall be,
and the card's own kernels are compiled where the engine is first run. One file serves several cards; a further one makes it
a few bytes larger. The manifest states the digest of the graph that an engine was built from, and what onnxruntime makes of
a fixed input, which the runtime asks of the engine before it answers anything else.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from claprt.bundle.digests import sha256_of, unchanged_file
from claprt.bundle.engine_forms import EngineInfo
from claprt.bundle.folder import Bundle, is_shipped, read_bundle
from claprt.bundle.graphs import GraphInfo, Precision, Stage
from claprt.bundle.manifest import MANIFEST_FILE, Manifest
from claprt.engines.hardware import default_threads
from claprt.engines.onnxruntime_session import Load, OrtSession
from claprt.engines.providers import ORT_NAMES, Provider
from claprt.engines.tensorrt import probe_feeds, shape_profile
from claprt.errors import OptionError
from claprt_export.atomic import new_file
from claprt_export.errors import OutputError
from claprt_export.graphs.tensorrt import largest_batch, read_graph, serialized, tensorrt_rtx

Report = Callable[[str], None]
BUILDABLE = (Precision.FP32, Precision.FP16, Precision.INT8_SYMMETRIC)
"""Precisions whose graphs TensorRT takes: int8 has zero points, and bf16 no graph of its own."""
_CARD = re.compile(r"SM\d+")


def known_cards() -> tuple[str, ...]:
    """Compute capabilities that the installed TensorRT-RTX builds for, such as `sm86` (RTX 3090) and `sm89` (RTX 4090).

    Raises:
        MissingDependencyError: If TensorRT-RTX is not installed.
    """
    names = filter(_CARD.fullmatch, vars(tensorrt_rtx().ComputeCapability))
    return tuple(sorted((name.lower() for name in names), key=lambda name: int(name[2:])))


def check_cards(cards: Sequence[str]) -> tuple[str, ...]:
    """The cards, each once, if TensorRT-RTX builds for all of them.

    Raises:
        MissingDependencyError: If TensorRT-RTX is not installed.
        OptionError: If none is named, or one is not known.
    """
    known = known_cards()
    found = tuple(dict.fromkeys(card.strip().lower() for card in cards if card.strip()))
    unknown = [card for card in found if card not in known]
    if unknown or not found:
        asked = f"Engines for {', '.join(unknown)} were asked for" if unknown else "No card was named to build engines for"
        raise OptionError(
            f"{asked}, and TensorRT-RTX {tensorrt_rtx().__version__} builds for {', '.join(known)}. Name one or more of "
            "these (--cards sm86,sm89); for other GPUs, TensorRT builds engines on the machine that has one: "
            "python -m claprt_export.graphs.tensorrt."
        )
    return found


def put_engines(
    folder: Path,
    cards: Sequence[str],
    *,
    precisions: Sequence[Precision] | None = None,
    stages: Sequence[Stage] = tuple(Stage),
    max_batch: int | None = None,
    force: bool = False,
    report: Report | None = None,
) -> tuple[EngineInfo, ...]:
    """Build engines of a bundle's graphs, put them into the bundle and name them in its manifest.

    Each engine appears whole, and the manifest never names one that is not there: what was finished before an error stays.

    Args:
        folder: the bundle.
        cards: compute capabilities, such as `("sm86", "sm89")`; every engine is for all of them.
        precisions: of `fp32`, `fp16` and `int8-symmetric`; by default those that the bundle has. The log-mel graph, which
            is there in fp32 alone, gets its engine in any case.
        stages: graphs to build engines of.
        max_batch: largest batch; by default 64, of texts 256.
        force: replaces engines of these graphs that the bundle has.
        report: is told what is being done.

    Returns:
        What the manifest says of the engines that were built.

    Raises:
        BundleError: there is no bundle at the folder, or a graph is not the one that was exported.
        MissingDependencyError: If TensorRT-RTX is not installed.
        OptionError: If a card is unknown, a precision is not in the bundle or not for TensorRT, or the batch is below 1.
        OutputError: If the bundle ships with the package, has engines and `force` is not set, or cannot be written.
        ExportError: If the parser does not take a graph, or no engine could be built from it.
    """
    cards = check_cards(cards)
    if max_batch is not None and max_batch < 1:
        raise OptionError(f"A largest batch of {max_batch} is not possible; give 1 or more.")
    bundle = read_bundle(folder)
    if is_shipped(bundle.path):
        raise OutputError(
            f"The bundle {bundle.manifest.name!r} at {bundle.path} ships with claprt and stays as released. Make one "
            f"of your own, `claprt-export {bundle.manifest.name} --out FOLDER`, and name that."
        )
    wanted = list(_wanted(bundle.manifest, precisions, stages))
    have = [engine.file for engine in bundle.manifest.engines if (engine.graph, engine.precision) in wanted]
    if have and not force:
        raise OutputError(f"{bundle.path} has {', '.join(have)} already; add --force to build anew.")
    built: list[EngineInfo] = []
    for stage, precision in wanted:
        if report is not None:
            report(f"building {_file(stage, precision)} for {', '.join(cards)}")
        batch = largest_batch(stage) if max_batch is None else max_batch
        engine, manifest = _put(bundle, stage, precision, cards, batch)
        bundle = replace(bundle, manifest=manifest)
        built.append(engine)
    return tuple(built)


def _wanted(
    manifest: Manifest, precisions: Sequence[Precision] | None, stages: Sequence[Stage]
) -> Iterator[tuple[Stage, Precision]]:
    """Graphs to build engines of.

    Raises:
        OptionError: If a precision is not in the bundle or not for TensorRT.
    """
    for precision in precisions or ():
        if precision not in BUILDABLE:
            instead = "int8-symmetric" if precision is Precision.INT8 else "fp16"
            raise OptionError(
                f"An engine in {precision} was asked for, and TensorRT-RTX takes {', '.join(BUILDABLE)}: export the bundle "
                f"with {instead} in place of it (claprt-export --precision fp32,{instead})."
            )
    for stage in stages:
        if stage is Stage.LOG_MEL:
            yield stage, Precision.FP32
            continue
        for precision in BUILDABLE:
            if precision in (manifest.graphs[stage] if precisions is None else precisions):
                manifest.graph(stage, precision)
                yield stage, precision


def _file(stage: Stage, precision: Precision) -> str:
    return f"{stage}.rtx" if stage is Stage.LOG_MEL else f"{stage}.{precision}.rtx"


def _put(
    bundle: Bundle, stage: Stage, precision: Precision, cards: tuple[str, ...], max_batch: int
) -> tuple[EngineInfo, Manifest]:
    """Build one engine and put it in place; the engine, and the manifest that names it."""
    facts, file = bundle.manifest.graph(stage, precision), _file(stage, precision)
    others = tuple(engine for engine in bundle.manifest.engines if engine.file != file)
    shapes = shape_profile(facts, max_batch=max_batch, max_tokens=bundle.manifest.text.max_tokens)
    capabilities = [getattr(tensorrt_rtx().ComputeCapability, card.upper()) for card in cards]
    with new_file(bundle.path / file) as path:
        with unchanged_file(bundle.graph_path(stage, precision), facts.sha256) as name:
            engine = serialized(read_graph(tensorrt_rtx(), name, facts.file), facts.file, shapes, capabilities)
        path.write_bytes(engine)
        found = EngineInfo(
            file=file,
            sha256=sha256_of(path),
            bytes=path.stat().st_size,
            graph=stage,
            precision=precision,
            graph_sha256=facts.sha256,
            cards=cards,
            tensorrt_rtx=str(tensorrt_rtx().__version__),
            profile=shapes,
            probe=None if stage is Stage.LOG_MEL else _probe(bundle, facts),
        )
        if len(others) < len(bundle.manifest.engines):  # no manifest states another engine than the one that is there
            _write_manifest(bundle.path, replace(bundle.manifest, engines=others))
    manifest = replace(bundle.manifest, engines=(*others, found))
    _write_manifest(bundle.path, manifest)
    return found, manifest


def _probe(bundle: Bundle, facts: GraphInfo) -> str:
    """What onnxruntime makes of the fixed input of a tower."""
    load = Load(path=bundle.path / facts.file, facts=facts, threads=default_threads(), cache=None, verified=True)
    vectors: Any = OrtSession(load, Provider.CPU, [ORT_NAMES[Provider.CPU]])(
        probe_feeds(facts, bundle.manifest.text.vocabulary)
    )
    return base64.b64encode(np.ascontiguousarray(vectors, "<f4").tobytes()).decode()


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    with new_file(folder / MANIFEST_FILE) as path:
        path.write_text(manifest.to_json(), encoding="utf-8")
