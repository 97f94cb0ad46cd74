"""Shapes of the library's requests and replies, as `claprt.serve.schemas` has those of the others."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Texts = Annotated[str | list[str], Meta(description="what it sounds like, in words; one text or several")]
Minus = Annotated[str | list[str], Meta(description="what it should not sound like, in words")]
Ids = Annotated[str | list[str], Meta(description="ids of the library's sounds that it should sound like")]
MinusIds = Annotated[str | list[str], Meta(description="ids of the library's sounds that it should not sound like")]
Count = Annotated[int, Meta(ge=1, description="how many sounds; 20 by default")]
Where = Annotated[
    str, Meta(description="a filter on columns, such as `duration_s < 5`; the library's guide has its syntax")
]
Names = Annotated[
    float,
    Meta(ge=0, le=1, description="how much the words of `text` in file names add to the score at most; 0 by default"),
]
Windows = Annotated[
    bool, Meta(description="whether hits have their best windows, or only the best one's start; true by default")
]


class SearchForm(Struct, kw_only=True, forbid_unknown_fields=True):
    """A sound's file, and further conditions."""

    text: Texts | None = None
    ids: Ids | None = None
    minus: Minus | None = None
    minus_ids: MinusIds | None = None
    k: Count | None = None
    where: Where | None = None
    names: Names | None = None
    windows: Windows | None = None


class SearchRequest(SearchForm, kw_only=True):
    """Texts, sounds, or ids of sounds."""

    audio: Annotated[str | list[str], Meta(description="files in base64 or as `data:` URIs; one or several")] | None = None


class WindowReply(Struct, kw_only=True):
    """A window of a sound."""

    start_s: float
    score: float


class HitReply(Struct, kw_only=True, omit_defaults=True):
    """A sound that was found."""

    path: Annotated[str, Meta(description="from the name of the library's folder on")]
    id: str
    score: Annotated[float, Meta(description="the higher the better; a cosine where nothing else is weighed in")]
    start_s: Annotated[float, Meta(description="start of the best window")]
    duration_s: float | None
    windows: Annotated[list[WindowReply], Meta(description="the best windows, best first")] | None = None


class SoundReply(Struct, kw_only=True):
    """Facts of a sound, as it was indexed."""

    id: str
    path: Annotated[str, Meta(description="from the name of the library's folder on")]
    size: Annotated[int, Meta(description="bytes")]
    mtime: Annotated[float, Meta(description="seconds since 1970")]
    sha256: str
    duration_s: float | None
    sample_rate: int
    channels: int
    state: Annotated[
        Literal["present", "changed", "missing"] | None,
        Meta(description="of the file; null without `--allow-audio`, or where it is not on this machine"),
    ] = None


class LibraryReply(Struct, kw_only=True):
    """What is searched."""

    sounds: int
    rows: int
    fingerprint: str
    audio: Annotated[bool, Meta(description="whether sounds can be played (`--allow-audio`)")]
