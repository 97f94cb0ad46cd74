"""Names of the published checkpoints, in the forms that people write them.

The exporter's registry says where each is found; a test holds both lists to the same names.
"""

from __future__ import annotations

import re

PUBLISHED = (
    "mini",
    "630k-best",
    "630k-audioset-best",
    "630k-fusion-best",
    "630k-audioset-fusion-best",
    "music_audioset_epoch_15_esc_90.14",
    "music_speech_epoch_15_esc_89.25",
    "music_speech_audioset_epoch_15_esc_89.98",
    "clap-htsat-unfused",
    "clap-htsat-fused",
    "larger_clap_general",
    "larger_clap_music",
    "larger_clap_music_and_speech",
    "untrained-tiny",
    "untrained-base",
)
"""What `claprt-export` takes as a variant."""

_HOST = re.compile(r"(?:hf:/+|(?:https?:/+)?(?:www\.)?(?:huggingface\.co|hf\.co)/)", re.IGNORECASE)
_REVISION = re.compile(r"/(?:resolve|blob|tree)/[^/]+(?=/|$)")
_REPOSITORIES = ("laion/", "lukewys/laion_clap/", "lukewys/laion-clap/")
_WEIGHTS = ("/pytorch_model.bin", "/model.safetensors")


def published_name(text: str) -> str | None:
    """The published checkpoint that a text names, or None.

    Args:
        text: A name of `PUBLISHED`; `.pt` may follow and the repository on the Hugging Face hub, or its address, stand
            before it. Upper and lower case are alike, `_` and `-`, and `fusion` and `fused`.

    Example:
        >>> published_name("laion/clap-htsat-fused"), published_name("630k-audioset-fused-best.pt")
        ('clap-htsat-fused', '630k-audioset-fusion-best')
        >>> published_name("models/630k-audioset-best.pt") is None
        True
    """
    return _KEYS.get(_key(text))


def similar_names(text: str) -> list[str]:
    """The published names that resemble a text, most alike first; at most three.

    Example:
        >>> similar_names("630k-audiset-best")[0]
        '630k-audioset-best'
    """
    import difflib

    key = _key(text).rpartition("/")[2]
    beginning = [known for known in _KEYS if len(key) >= 4 and known.startswith(key)]
    close = difflib.get_close_matches(key, _KEYS, n=3, cutoff=0.6)
    return [_KEYS[known] for known in dict.fromkeys([*beginning, *close])][:3]


def _key(text: str) -> str:
    plain = _REVISION.sub("", _HOST.sub("", text.strip(), count=1).partition("?")[0]).rstrip("/").casefold()
    for repository in _REPOSITORIES:
        plain = plain.removeprefix(repository)
    for file in _WEIGHTS:
        plain = plain.removesuffix(file)
    return plain.removesuffix(".pt").replace("_", "-").replace("fusion", "fused")


_KEYS = {_key(name): name for name in PUBLISHED}
