"""Tables of searches of a library."""

from __future__ import annotations

from typing import Any


def library_search_table(results: dict[str, Any]) -> str:
    """Durations, recall and memory of searches of a large library."""
    rows, start = f"{results['rows']:,}", results["process start"]

    def memory(of: dict[str, int]) -> str:
        return f"{of['peak']} MB, {of['own']} of them its own"

    exact, filtered, near = (results[name] for name in ("exact", "exact, half filtered", "approximate"))
    built, derived = results["index"], results["derived files"]
    recall = f"recall@10 {near['recall@10, sounds']:.3f} of sounds, {near['recall@10, texts']:.3f} of texts"
    lines = [
        f"| {rows} vectors of 512, one query | median | memory |",
        "|---|---|---|",
        f"| exact | {exact['p50_ms']:g} ms | {memory(exact['memory_mb'])} |",
        f"| exact, with a filter | {filtered['p50_ms']:g} ms | {memory(filtered['memory_mb'])} |",
        f"| approximate, {recall} | {near['p50_ms']:g} ms | {memory(near['memory_mb'])} |",
        f"| making the derived files | {derived['seconds']:g} s | {memory(derived['memory_mb'])} |",
        f"| building the index | {built['seconds']:g} s | {memory(built['memory_mb'])} |",
        f"| {results['start rows']:,} sounds, from the start of `claprt search` to its answer | {start['p50_s']:g} s | |",
    ]
    where = f"`python benchmarks/library_search.py` on {results['cores']} cores of an {results['machine']}."
    what = (
        "The files are in the page cache; a query whose rows lie on the disk waits for some 200 reads more. "
        "Memory is the peak; what is not the process's own are pages of mapped files."
    )
    return "\n".join([*lines, "", " ".join([where, what, *([results["note"]] if "note" in results else [])])])


def near_duplicates_table(results: dict[str, Any]) -> str:
    """Cosines of altered copies with their originals, and of other recordings."""
    rows = [
        f"| {name} | {of['least']:.3f} | {of['median']:.3f} |"
        for name, of in results["copies"].items()
        if name != "the same"
    ]
    other = results["nearest other"]
    shares = results["share with another above"].items()
    above = "; ".join(f"{share:.0%} have one at {least} or more" for least, share in shares)
    nearest = f"a cosine of {other['median']:.3f} in the median and of {other['most']:.3f} at most"
    clips = f"`python benchmarks/near_duplicates.py` with {results['clips']} clips of {results['dataset']}."
    lines = ["| a copy with | lowest cosine | median |", "|---|---|---|", *rows, ""]
    return "\n".join([*lines, f"The nearest *other* recording has {nearest}: {above}. {clips}"])
