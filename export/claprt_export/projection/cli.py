"""`claprt-export projection` and `claprt-export train-projection`: what they take, and what they say."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from claprt.bundle.graphs import ProjectionInfo
from claprt.errors import DatasetError, OptionError

if TYPE_CHECKING:
    from claprt_export.projection.network import ProjectionConfig
    from claprt_export.projection.train import Plan

Report = Callable[[str], None]
_SERVICE_RECIPE = "kromosynth"
_FOR_THE_SERVICE = (
    f"`claprt serve` makes those of {_SERVICE_RECIPE} unless --preprocess says otherwise, and a projection is for vectors "
    f"like those that it was trained on. For the service, embed with `claprt embed --preprocess {_SERVICE_RECIPE}`."
)
COMMANDS = """\
commands (each has --help):
  projection CHECKPOINT.pt --bundle FOLDER      puts a projection to behaviour descriptors into a bundle
  train-projection EMBEDDINGS --out FILE.pt     trains one, on neighbours or on judgements"""
"""For the help of `claprt-export`."""


def _projection_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="claprt-export projection",
        usage="claprt-export projection CHECKPOINT.pt --bundle FOLDER [options]",
        description="Puts a projection of embeddings to behaviour descriptors into a bundle, from the .pt file that "
        "kromosynth-evaluate's trainer or train-projection wrote.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT.pt", help="the projection's checkpoint")
    parser.add_argument("--bundle", type=Path, required=True, metavar="FOLDER", help="the bundle to put it into")
    parser.add_argument(
        "--activation", metavar="NAME",
        help="relu, tanh or leaky_relu: what is between the layers, which such files do not say (relu)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace the projection that the bundle has")
    parser.set_defaults(run=_put)
    return parser


def _training_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="claprt-export train-projection",
        usage="claprt-export train-projection EMBEDDINGS --out FILE.pt [options]",
        description="Trains a projection of embeddings to behaviour descriptors with a triplet loss, as QDHF does, on "
        "judgements of people or on the embedding's own neighbours.",
    )
    parser.add_argument(
        "embeddings", type=Path, metavar="EMBEDDINGS", help="a .npy file [n, dim], or the .npz of `claprt embed -o`"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.pt", help="the checkpoint to write; FILE.onnx is written beside it"
    )
    parser.add_argument("--bundle", type=Path, metavar="FOLDER", help="a bundle to put it into as well")
    parser.add_argument(
        "--triplets", type=Path, metavar="FILE",
        help="judgements, .npy or .csv [n, 3]: rows of the anchor, of what is like it, of what is not (neighbours judge)",
    )  # fmt: skip
    for name, kind, default, about in (
        ("--dimensions", int, 6, "descriptors of a sound"),
        ("--hidden", int, 128, "width of the hidden layers"),
        ("--layers", int, 2, "hidden layers"),
        ("--dropout", float, 0.0, "share of values that training leaves out between layers"),
        ("--neighbours", int, 10, "nearest sounds that count as alike, where no --triplets are given"),
        ("--epochs", int, 60, "most epochs"),
        ("--triplets-per-epoch", int, 10_000, "triplets that are drawn for each"),
        ("--batch", int, 256, "triplets of one step"),
        ("--rate", float, 1e-3, "learning rate"),
        ("--margin", float, 0.2, "by how much the unlike sound shall be further away than the like one"),
        ("--spread", float, 0.5, "weight of the term that spreads descriptors over [0, 1]; 0 for the triplets alone"),
        ("--patience", int, 10, "epochs without a better one after which it ends"),
        ("--seed", int, 0, "of all that is drawn"),
    ):
        parser.add_argument(name, type=kind, default=default, metavar="N", help=f"{about} ({default})")
    parser.add_argument("--force", action="store_true", help="replace files, and a projection, that are there already")
    parser.set_defaults(run=_train)
    return parser


PARSERS = {"projection": _projection_parser, "train-projection": _training_parser}
"""By the word that follows `claprt-export`."""


def _put(options: argparse.Namespace, report: Report) -> Iterator[str]:
    from claprt_export.projection.install import open_bundle, put_projection
    from claprt_export.projection.network import read_projection

    open_bundle(options.bundle, force=options.force)
    stored = read_projection(options.checkpoint, options.activation)
    if not stored.activation_stated and options.activation is None:
        report(f"{stored.name} does not say what is between its layers: relu is assumed (--activation)")
    facts = put_projection(stored, options.bundle, force=options.force)
    yield from _about(facts, options.bundle)


def _about(facts: ProjectionInfo, bundle: Path) -> Iterator[str]:
    yield f"{bundle}: {facts.input_dim} → {facts.output_dim}, {facts.activation}, of {facts.source}"
    parity = facts.parity
    yield f"  {facts.graph.file} against torch: maximum difference {parity.max_abs:.2g} over {parity.cases} inputs"


def _train(options: argparse.Namespace, report: Report) -> Iterator[str]:
    from claprt_export.projection.install import open_bundle, put_projection, refuse_other_dim
    from claprt_export.projection.train import save_trained, train_projection
    from claprt_export.projection.training_data import read_embeddings, read_triplets
    from claprt_export.projection.triplets import given_triplets, proxy_triplets

    _check_outputs(options)
    found = read_embeddings(options.embeddings)
    dim = found.embeddings.shape[1]
    if options.bundle is not None:
        bundle = open_bundle(options.bundle, force=options.force)
        refuse_other_dim(bundle, dim, str(options.embeddings))
        _refuse_other_model(found.fingerprint, bundle.manifest.name, options.embeddings)
        if _other_recipe(found.fingerprint):
            report(f"note: {options.embeddings} holds vectors of {found.fingerprint}; {_FOR_THE_SERVICE}")
    config, plan = _how(options, dim)
    if options.triplets is None:
        triplets = proxy_triplets(found, neighbours=options.neighbours, seed=options.seed)
    else:
        triplets = given_triplets(found, read_triplets(options.triplets, len(found.embeddings)), seed=options.seed)
    report(triplets.about)
    trained = train_projection(found, triplets, config, plan, report)
    stored = save_trained(trained, options.out)
    yield f"{options.out}: {dim} → {config.output_dim}, {triplets.about}"
    yield (
        f"  held-out triplets right: {100 * trained.accuracy:.1f} % in epoch {trained.best_epoch}, "
        f"{100 * trained.untrained_accuracy:.1f} % untrained"
    )
    yield f"  held-out descriptors use of [0, 1]: {trained.use}"
    if options.bundle is not None:
        yield from _about(put_projection(stored, options.bundle, force=options.force), options.bundle)


def _check_outputs(options: argparse.Namespace) -> None:
    from claprt_export.atomic import refuse_existing

    if options.out.suffix != ".pt":
        raise OptionError(f"--out {options.out}: the name must end in .pt; the graph beside it will end in .onnx.")
    for out in (options.out, options.out.with_suffix(".onnx")):
        refuse_existing(out, force=options.force)


def _how(options: argparse.Namespace, dim: int) -> tuple[ProjectionConfig, Plan]:
    """The network to train, and how."""
    from claprt_export.projection.network import ProjectionConfig
    from claprt_export.projection.train import Plan

    config = ProjectionConfig(
        input_dim=dim,
        hidden_dim=options.hidden,
        output_dim=options.dimensions,
        num_hidden_layers=options.layers,
        dropout=options.dropout,
    )
    names = ("epochs", "batch", "rate", "margin", "spread", "patience", "seed")
    plan = Plan(triplets=options.triplets_per_epoch, **{name: getattr(options, name) for name in names})
    return config, plan


def _other_recipe(fingerprint: str | None) -> bool:
    """Whether vectors were made by another recipe than the service's own."""
    return fingerprint is not None and fingerprint.split("/")[1:2] != [_SERVICE_RECIPE]


def _refuse_other_model(fingerprint: str | None, name: str, path: Path) -> None:
    """Vectors of another checkpoint would train a projection that means nothing in this bundle.

    Raises:
        DatasetError: If the vectors are those of another checkpoint.
    """
    if fingerprint is not None and fingerprint.split("/")[0] != name:
        raise DatasetError(
            f"{path} holds vectors of {fingerprint}, and the bundle is {name!r}. Embed the sounds with this bundle: "
            "`claprt embed --bundle FOLDER -o FILE.npz`."
        )
