"""`python -m claprt_export.mini`: trains mini from recordings and synthesised sounds, measures it, and exports it.

Two runs share everything: the *study* holds out a fold of ESC-10 and part of the named recordings, and its figures are
the ones that are published; what ships then goes on from its weights with all recordings.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import torch

import claprt
from claprt_export.mini.dataset import SYNTHESISED, claim, make_store
from claprt_export.mini.model import save_checkpoint
from claprt_export.mini.report import report, table
from claprt_export.mini.sampler import Phase, Plan
from claprt_export.mini.text_finetuning import retrain_text
from claprt_export.mini.train import train
from claprt_export.pipeline import export_bundle

SHIPPED = replace(
    Plan(),
    folds=("1", "2", "3", "4"),
    everything=True,
    phases=(Phase(bands=4, steps=400, batch=36),),
    muon_rate=1e-3,
    adam_rate=5e-4,
)
"""What ships: the study's weights, trained a little longer on everything."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m claprt_export.mini", description="Train the small CLAP.")
    parser.add_argument("--esc10", type=Path, metavar="FOLDER", help="labels.csv (file, fold, label) and the clips")
    parser.add_argument("--berklee", type=Path, metavar="FOLDER", help="MP3s named after what they are")
    parser.add_argument("--sonicpi", type=Path, metavar="FOLDER", help="FLACs named after what they are")
    parser.add_argument("--work", type=Path, default=Path("build/mini"), help="log-mels, states and results (build/mini)")
    parser.add_argument("--processes", type=int, default=2, help="that train together; each takes its own batch (2)")
    parser.add_argument("--synthesised", type=int, default=SYNTHESISED, help="sounds of each synthesised kind")
    parser.add_argument("--steps", type=float, default=1.0, metavar="SHARE", help="share of all steps, for a quick try")
    options = parser.parse_args()
    work: Path = options.work
    store = work / "store.npz"
    make_store(
        store,
        esc10=options.esc10,
        berklee=options.berklee,
        sonicpi=options.sonicpi,
        synthesised=options.synthesised,
        processes=options.processes,
    )
    study = work / "study"
    _train(store, study, _shortened(Plan(), options.steps), options.processes)
    _export(study)
    if options.esc10 and options.berklee and options.sonicpi:
        clap = claprt.load(study / "bundle")
        figures = report(clap, options.esc10, options.berklee, options.sonicpi, "4")
        (study / "report.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        print(table(figures))
    shipped = work / "shipped"
    if not (shipped / "state.pt").is_file():
        shipped.mkdir(parents=True, exist_ok=True)
        shutil.copy(study / "tokenizer.json", shipped)
        averages = torch.load(study / "state.pt", weights_only=True)["averages"]
        torch.save({"step": 0, "model": averages, "averages": averages}, shipped / "state.part")
        (shipped / "state.part").replace(shipped / "state.pt")
    _train(store, shipped, _shortened(SHIPPED, options.steps), options.processes)
    _export(shipped)
    print(f"trained: {shipped / 'mini.pt'}, exported: {shipped / 'bundle'}")


def _shortened(plan: Plan, share: float) -> Plan:
    phases = tuple(replace(phase, steps=max(1, round(phase.steps * share))) for phase in plan.phases)
    return replace(plan, phases=phases, text_steps=max(1, round(plan.text_steps * share)))


def _train(store: Path, folder: Path, plan: Plan, processes: int) -> None:
    claim(folder / "plan.json", {**asdict(plan), "processes": processes})
    if (folder / "mini.pt").is_file():
        return
    train(store, folder, plan, processes)
    save_checkpoint(folder / "mini.pt", retrain_text(store, folder, plan))


def _export(folder: Path) -> None:
    export_bundle(
        folder / "bundle",
        checkpoint=folder / "mini.pt",
        tokenizer=folder / "tokenizer.json",
        force=True,
        report=lambda line: print(f"  {line}"),
    )


if __name__ == "__main__":
    main()
