"""The words of the captions that `mini` was trained with, which its manifest lists.

python -m claprt_export.mini.trained_words --berklee FOLDER --sonicpi FOLDER --out FILE
"""

from __future__ import annotations

import argparse
from pathlib import Path

from claprt.scoring.vocabulary import stems
from claprt_export.mini.dataset import named_recordings
from claprt_export.synthesis.captions import ESC10_WORDINGS
from claprt_export.synthesis.classes import KINDS


def trained_words(names: set[str]) -> list[str]:
    """Stems of the wordings of ESC-10's classes and of the synthesised kinds, and of recordings' names; sorted.

    Args:
        names: what the recordings are called.
    """
    wordings = [wording for wordings in ESC10_WORDINGS.values() for wording in wordings]
    wordings += [wording for kind in KINDS.values() for wording in (kind.name, *kind.wordings)]
    return sorted(word for word in frozenset().union(*map(stems, [*wordings, *names])) if len(word) > 2)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--berklee", type=Path, required=True, metavar="FOLDER", help="MP3s named after what they are")
    parser.add_argument("--sonicpi", type=Path, required=True, metavar="FOLDER", help="FLACs named after what they are")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="one word a line, as the exporter reads it")
    options = parser.parse_args()
    names = {name for source in ("berklee", "sonicpi") for name, _, _ in named_recordings(getattr(options, source), source)}
    options.out.write_text("\n".join(trained_words(names)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
