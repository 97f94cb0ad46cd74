"""Tables of what vectors are like: parity, lower precisions, the small model, tags."""

from __future__ import annotations

from typing import Any


def parity_table(results: dict[str, Any]) -> str:
    """A markdown table of all parity rows, with the versions that were compared."""
    rows = [f"| {row['what']} | {row['bar']} | {row['measured']} |" for row in results["rows"]]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return "\n".join(["| against | bar | measured |", "|---|---|---|", *rows, "", f"Measured with {versions}."])


def quality_table(results: dict[str, Any]) -> str:
    """A markdown table of what lowered precisions cost on real sounds."""
    lines = ["| bundle | | centred cosine | worst | top-1 (fp32) | R@5 (fp32) |", "|---|---|---|---|---|---|"]
    for bundle, found in results.items():
        full = found["pairs"]["fp32"]
        for pair, row in found["pairs"].items():
            if pair == "fp32":
                continue
            cells = [f"{row['centred_cosine']:.4f}", f"{row['centred_cosine_min']:.4f}"]
            cells += [f"{row[key]:.3f} ({full[key]:.3f})" if key in row else "–" for key in ("top1", "recall5")]
            lines.append(f"| {bundle} | {pair} | {' | '.join(cells)} |")
    sounds = "; ".join(sorted({f"{found['sounds']} sounds of {found['dataset']}" for found in results.values()}))
    return "\n".join([*lines, "", f"{sounds}."])


def mini_table(figures: dict[str, Any]) -> str:
    """A markdown table of what mini's study reached."""
    templates = figures["esc10_top1_held_out_templates"]
    worst = min(templates, key=lambda template: templates[template])
    seen, unseen, unlike = figures["named_seen"], figures["named_unseen"], figures["named_unseen_unlike"]
    rows = [
        (f"zero-shot top-1 on ESC-10's fold {figures['esc10_fold']}, trained on folds 1–3", "≥ 0.82",
         figures["esc10_top1"]),
        (f"the same with templates that training never used, the worst of {len(templates)} (`{worst}`)", "≥ 0.78",
         templates[worst]),
        ("synthesised sounds with unseen parameters, among all 67 kinds: seen wordings", "≥ 0.85",
         figures["synthesised_seen_wordings"]),
        ("the same: wordings that training never used", "≥ 0.65", figures["synthesised_held_out_wordings"]),
        (f"held-out recordings of names that training used ({seen['sounds']}): the right name in the first five of 20",
         "≥ 0.85", seen["R@5 of 20"]),
        (f"the same, names that training never used ({unseen['sounds']})", "≥ 0.65", unseen["R@5 of 20"]),
        (f"of these, names unlike every name that training used ({unlike['sounds']})", "chance 0.25", unlike["R@5 of 20"]),
    ]  # fmt: skip
    lines = ["| what | bar | measured |", "|---|---|---|"]
    return "\n".join(lines + [f"| {what} | {bar} | {value:.3f} |" for what, bar, value in rows])


def tagging_table(results: dict[str, Any]) -> str:
    """A markdown table of precision, recall and F1 of tags from a probability of 0.5 on."""
    ways = list(next(iter(results["sets"].values()))["ways"])
    lines = [f"| tags of {results['bundle']} on | " + " | ".join(ways) + " |", "|---|" + "---|" * len(ways)]
    for name, found in results["sets"].items():
        cells = [f"{way['precision']:.2f} / {way['recall']:.2f} / **{way['f1']:.2f}**" for way in found["ways"].values()]
        asked = f"{name} ({found['sounds']} sounds, {found['tags']} tags of which {found['prevalence']:.1%} apply)"
        lines.append(f"| {asked} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "Precision / recall / F1, from 0.5 on."])
