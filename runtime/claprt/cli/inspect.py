"""`claprt inspect`: what a bundle is, and whether it is still what was exported."""

from __future__ import annotations

import argparse
from typing import Any

from claprt.bundle import Bundle, read_bundle
from claprt.cli.options import bundle_path


def add(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "inspect",
        help="show what a bundle is",
        description="Shows the facts of a bundle and compares every file with its sha256.",
    )
    command.add_argument("bundle", nargs="?", metavar="BUNDLE", help="folder of the bundle (the default one)")
    command.add_argument("--json", action="store_true", help="print the manifest itself")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    bundle = read_bundle(bundle_path(options))
    bundle.verify()
    print(bundle.manifest.to_json() if options.json else _summary(bundle), end="")
    return 0


def _summary(bundle: Bundle) -> str:
    manifest = bundle.manifest
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
    lines = [f"{key:13} {value}" for key, value in rows]
    lines.append("\nfiles, each compared with its sha256")
    for name, facts in manifest.listed_files().items():
        lines.append(f"  {name:22} {facts.bytes / 1e6:9.1f} MB  {facts.sha256[:16]}…")
    lines.append("\nparity when exported")
    for row in manifest.parity:
        cosine = "" if row.min_cosine is None else f", cosine ≥ {row.min_cosine:.9f} (limit {row.min_cosine_limit})"
        limit = f"(limit {row.max_abs_limit:g})"
        lines.append(f"  {row.graph:8} {row.precision:5} against {row.against}: ≤ {row.max_abs:.2g} {limit}{cosine}")
    return "\n".join(lines) + "\n"
