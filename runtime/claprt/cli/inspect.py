"""`claprt inspect`: what a bundle is, and whether it is still what was exported."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

from claprt.bundle.address import is_address
from claprt.bundle.engine_forms import EngineInfo
from claprt.bundle.folder import Bundle, read_bundle
from claprt.bundle.graphs import ProjectionInfo
from claprt.bundle.manifest import Manifest
from claprt.cli.options import bundle_path
from claprt.engines.choice import EngineOptions, choose
from claprt.engines.providers import Provider
from claprt.errors import ClaprtError, FallbackWarning
from claprt.model.load import load


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "inspect",
        usage="claprt inspect [BUNDLE] [options]",
        help="show what a bundle is",
        description="Shows the facts of a bundle and compares every file with its sha256; of a Triton server's bundle, the "
        "facts that the server states.",
    )
    command.add_argument(
        "bundle", nargs="?", metavar="BUNDLE", help="bundle, checkpoint or a Triton server's address (the default one)"
    )
    command.add_argument("--json", action="store_true", help="print the manifest itself")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    path = bundle_path(options)
    if is_address(path):
        manifest, lines = load(path).manifest, [f"\nserved at {path}"]
    else:
        bundle = read_bundle(path)
        bundle.verify()
        manifest, lines = bundle.manifest, _of_folder(bundle)
    print(manifest.to_json() if options.json else "\n".join([*_facts(manifest), *lines]) + "\n", end="")
    return 0


def projection_line(facts: ProjectionInfo) -> str:
    """What the projection is, and where it came from."""
    made_from = f"from {facts.source} (sha256 {facts.source_sha256[:16]}…)"
    return f"{facts.input_dim} → {facts.output_dim} in [0, 1], {made_from}, within {facts.parity.max_abs:.2g} of torch"


def _facts(manifest: Manifest) -> list[str]:
    """The facts that a folder and a server both state."""
    audio, mel, source = manifest.audio, manifest.audio.mel, manifest.source
    trained = "" if source.trained else "   (untrained weights: vectors mean nothing)"
    rows = [
        ("name", f"{manifest.name}{trained}"),
        ("weights", f"{source.layout} layout, sha256 {source.sha256[:16]}…"),
        ("published", f"{source.repository} at {source.revision}, {source.licence}" if source.repository else "no"),
        (
            "audio",
            f"{audio.architecture}, windows of {audio.window_s:g} s at {mel.sample_rate} Hz, {audio.views} view(s)",
        ),
        ("log-mel", f"{mel.mels} mels, {mel.f_min:g}–{mel.f_max:g} Hz, {mel.scale} scale, norm {mel.norm}"),
        (
            "text",
            f"{manifest.text.architecture}, {manifest.text.vocabulary} tokens, at most {manifest.text.max_tokens}",
        ),
        ("vectors", f"{manifest.embedding_dim} dimensions"),
        ("logit scales", f"audio {manifest.logit_scale_a:.4f}, text {manifest.logit_scale_t:.4f}"),
        ("opset", str(manifest.opset)),
        ("written by", ", ".join(f"{tool} {version}" for tool, version in manifest.tools.items())),
    ]
    if manifest.projection is not None:
        rows.append(("projection", projection_line(manifest.projection)))
    return [f"{key:13} {value}" for key, value in rows]


def _of_folder(bundle: Bundle) -> list[str]:
    """The files, what was measured at the export, and what this machine would run."""
    manifest = bundle.manifest
    lines = ["\nfiles, each compared with its sha256"]
    for name, facts in manifest.listed_files().items():
        lines.append(f"  {name:22} {facts.bytes / 1e6:9.1f} MB  {facts.sha256[:16]}…")
    if manifest.engines:
        lines.append("\nengines of TensorRT-RTX, built ahead of time and never run at the export")
        lines += [f"  {engine.summary}{_outdated(engine, manifest)}" for engine in manifest.engines]
    lines.append("\nparity when exported")
    for row in manifest.parity:
        cosine = "" if row.min_cosine is None else f", cosine ≥ {row.min_cosine:.9f} (limit {row.min_cosine_limit})"
        limit = f"(limit {row.max_abs_limit:g})"
        lines.append(f"  {row.graph:8} {row.precision:5} against {row.against}: ≤ {row.max_abs:.2g} {limit}{cosine}")
    if manifest.quality:
        lines.append("\nlowered precisions, as measured when exported")
        lines += [f"  {row.summary}" for row in manifest.quality]
    lines += [f"  {row.summary}" for row in manifest.single]
    return [*lines, "", *_would_choose(bundle)]


def _outdated(engine: EngineInfo, manifest: Manifest) -> str:
    """What to add where an engine is not used, because its graph is another one now."""
    return "" if manifest.engine(engine.graph, engine.precision) == engine else "; NOT USED: built from another graph"


def _would_choose(bundle: Bundle) -> list[str]:
    """What `provider="auto", precision="auto"` comes to on this machine, and why. A GPU is tried, not just listed."""
    from claprt.engines.in_process import InProcessEngine, detect_hardware

    try:
        machine = detect_hardware()
        choice = choose(EngineOptions(precision="auto"), machine, bundle.manifest)
        if choice.provider in (Provider.CUDA, Provider.TENSORRT_RTX):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FallbackWarning)  # the lines below say it
                choice = InProcessEngine(bundle, choice).choice
    except ClaprtError as error:
        return [f"on this machine: {error}"]
    features = ", ".join(sorted(machine.features)) or "nothing that matters here"
    text = "" if choice.audio is choice.text else f" (text in {choice.text})"
    head = (
        f"on this machine (the processor has {features}; OpenVINO {machine.openvino or 'is not installed'}), "
        f'provider="auto", precision="auto" is'
    )
    return [
        head,
        f"  {choice.audio} on {choice.provider}{text}: {choice.reason}",
        *(f"  not {line}" for line in choice.rejected),
    ]
