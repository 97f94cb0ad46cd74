"""The one registry of checkpoints that can be exported by name.

A row says where the weights are published and what they must hash to, where that is known; everything else (size, fused
or not, front end, logit scales) is read from the weights themselves, so any other checkpoint can be exported by path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from claprt.bundle.manifest import TaggingCalibration
from claprt.bundle.published import published_name, similar_names
from claprt_export.errors import UnknownVariantError


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One published checkpoint, or one row of untrained weights."""

    name: str
    layout: Literal["laion", "transformers", "seeded"]
    about: str
    repository: str | None = None
    """On the Hugging Face hub."""
    revision: str | None = None
    """Commit that the weights are taken from."""
    weights: str | None = None
    """File of the repository that holds the weights."""
    sha256: str | None = None
    """Of that file; None where it is not known here."""
    licence: str | None = None
    trained_on: str | None = None
    packaged: Path | None = None
    """The weights, where they come with this package; the tokenizer lies beside them, how its tags are calibrated, and
    the words of its training captions."""

    def tagging(self) -> TaggingCalibration | None:
        """What `claprt calibrate` found of these weights, where it comes with this package."""
        path = None if self.packaged is None else self.packaged.parent / "tagging.json"
        if path is None or not path.is_file():
            return None
        return msgspec.json.decode(path.read_bytes(), type=TaggingCalibration)

    def trained_words(self) -> str:
        """Words of the captions of the training, with spaces between them, where they come with this package."""
        path = None if self.packaged is None else self.packaged.parent / "trained_words.txt"
        return "" if path is None or not path.is_file() else " ".join(path.read_text(encoding="utf-8").split())


_LAION = "lukewys/laion_clap"
_LAION_REVISION = "b3708341862f581175dba5c356a4ebf74a9b6651"


def _laion(file: str, about: str, sha256: str | None = None) -> Variant:
    return Variant(
        name=file.removesuffix(".pt"),
        layout="laion",
        about=about,
        repository=_LAION,
        revision=_LAION_REVISION,
        weights=file,
        sha256=sha256,
        licence="CC0-1.0",
    )


def _transformers(name: str, revision: str, about: str, sha256: str | None = None) -> Variant:
    return Variant(
        name=name,
        layout="transformers",
        about=about,
        repository=f"laion/{name}",
        revision=revision,
        weights="pytorch_model.bin",
        sha256=sha256,
        licence="Apache-2.0",
    )


_ROWS = (
    Variant(
        name="mini",
        layout="laion",
        about="small, everyday sounds and instruments; part of the package",
        licence="MIT",
        trained_on="ESC-10 (folds 1 to 4 of ESC-50's ten classes), Berklee and Sonic Pi samples, synthesised sounds",
        packaged=Path(__file__).parents[1] / "mini" / "weights" / "mini.pt",
    ),
    _laion("630k-best.pt", "HTSAT-tiny, general audio under 10 s"),
    _laion(
        "630k-audioset-best.pt",
        "HTSAT-tiny, general audio under 10 s; laion-clap's default",
        "8053c9775516af2f4902e1e8281e356cc1bf7a85e8b761908170767b77c3f037",
    ),
    _laion("630k-fusion-best.pt", "HTSAT-tiny fused, general audio of any length"),
    _laion("630k-audioset-fusion-best.pt", "HTSAT-tiny fused, general audio of any length"),
    _laion(
        "music_audioset_epoch_15_esc_90.14.pt",
        "HTSAT-base, music and general audio",
        "fae3e9c087f2909c28a09dc31c8dfcdacbc42ba44c70e972b58c1bd1caf6dedd",
    ),
    _laion("music_speech_epoch_15_esc_89.25.pt", "HTSAT-base, music and speech"),
    _laion("music_speech_audioset_epoch_15_esc_89.98.pt", "HTSAT-base, music, speech and general audio"),
    _transformers(
        "clap-htsat-unfused",
        "8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a",
        "630k-audioset-best in transformers' layout",
        "1cd3c601bc4afe0fa87be3de4c13dd2cfadd249fac1e29acf74a9b296c3219bb",
    ),
    _transformers(
        "clap-htsat-fused",
        "cca9e288ab447cee67d9ada1f85ddb46500f1401",
        "630k-audioset-fusion-best in transformers' layout",
    ),
    _transformers(
        "larger_clap_general",
        "ada0c23a36c4e8582805bb38fec3905903f18b41",
        "HTSAT-base, music, speech and general audio",
        "314eb00cce6ad68d25237b8446b659ccdb136ed4672c1bca470f142f72455026",
    ),
    _transformers(
        "larger_clap_music",
        "a0b4534a14f58e20944452dff00a22a06ce629d1",
        "HTSAT-base; its text tower is collapsed, and the export refuses it",
        "5c289311f4a030d768af7ffbfdecd01b008aa64824211899a4e59f4f9d154fd1",
    ),
    _transformers(
        "larger_clap_music_and_speech",
        "195c3a3e68faebb3e2088b9a79e79b43ddbda76b",
        "HTSAT-base, music and speech",
        "d4e5cf6317c7521ca62c11b524f5646565310e040129fe35719cad661696d745",
    ),
    Variant(name="untrained-tiny", layout="seeded", about="HTSAT-tiny with seeded weights: real cost, no meaning"),
    Variant(name="untrained-base", layout="seeded", about="HTSAT-base with seeded weights: real cost, no meaning"),
)

VARIANTS = {row.name: row for row in _ROWS}
"""Every variant by name."""


def variant(name: str) -> Variant:
    """The variant of this name, in any form of `claprt.bundle.published`: `.pt` at its end, the hub's name before it.

    Raises:
        UnknownVariantError: there is none.
    """
    row = VARIANTS.get(published_name(name) or "")
    if row is None:
        known = "\n".join(f"  {known.name:45} {known.about}" for known in VARIANTS.values())
        meant = " or ".join(similar_names(name))
        hint = f" Did you mean {meant}?" if meant else ""
        raise UnknownVariantError(
            f"No variant is called {name!r}.{hint} Known are:\n{known}\nAny other LAION .pt file or transformers folder is "
            "exported by path: --checkpoint PATH."
        )
    return row
