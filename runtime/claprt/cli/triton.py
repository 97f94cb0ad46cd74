"""`claprt triton`: a Triton model repository from a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from claprt.bundle.folder import BUNDLE_VARIABLE, read_bundle
from claprt.bundle.graphs import Precision
from claprt.cli.options import bundle_folder_path
from claprt.triton.repository.builder import SERVED, Build, build


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "triton",
        usage="claprt triton --out FOLDER [options]",
        help="write a Triton model repository",
        description="Links a bundle's graphs into a Triton model repository whose configurations were checked against it.",
    )
    command.add_argument(
        "--bundle", "--checkpoint", metavar="MODEL", help=f"bundle or checkpoint to serve (or set {BUNDLE_VARIABLE})"
    )
    command.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="folder of the repository")
    command.add_argument(
        "--precision", default="fp32", choices=list(map(str, SERVED)), help="graphs to serve (%(default)s)"
    )
    command.add_argument(
        "--version", type=int, default=1, metavar="N", help="version to write; others are kept (%(default)s)"
    )
    command.add_argument("--tensorrt", type=int, default=10, metavar="N", help="its major version, for fp16 (%(default)s)")
    command.add_argument("--plans", type=Path, metavar="FOLDER", help="engines that claprt_export.graphs.tensorrt built")
    command.add_argument("--queue", type=int, metavar="N", help="requests that may wait for a model; more are rejected")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    options.bundle = bundle_folder_path(options)
    wanted = Build(
        bundle=read_bundle(options.bundle),
        precision=Precision(options.precision),
        version=options.version,
        tensorrt=options.tensorrt,
        plans=options.plans,
        queue=options.queue,
    )
    build(wanted, options.out)
    print(f"{options.out}: {wanted.bundle.manifest.name} in {wanted.precision}, version {wanted.version}")
    return 0
