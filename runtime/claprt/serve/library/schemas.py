"""Shapes of the library's requests and replies, as `claprt.serve.schemas` has those of the others."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Texts = Annotated[str | list[str] | None, Meta(description="what it sounds like, in words; one text or several")]
Minus = Annotated[str | list[str] | None, Meta(description="what it should not sound like, in words")]
Ids = Annotated[str | list[str] | None, Meta(description="ids of sounds of the library that it should sound like")]
MinusIds = Annotated[str | list[str] | None, Meta(description="ids of sounds of the library that it should not sound like")]
Files = Annotated[str | list[str] | None, Meta(description="files in base64 or as `data:` URIs; one or several")]
Count = Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="how many sounds at most; 20 by default")]
Where = Annotated[str | None, Meta(description="a condition in SQL on columns, such as `duration_s < 5`")]
Names = Annotated[
    Annotated[float, Meta(ge=0, le=1)] | None,
    Meta(description="how much the words of `text` in file names add to the score at most; 0 by default"),
]
Windows = Annotated[bool | None, Meta(description="whether hits list their windows; true by default")]


class SearchForm(Struct, kw_only=True, forbid_unknown_fields=True):
    """A sound's file, and further conditions."""

    text: Texts = None
    ids: Ids = None
    minus: Minus = None
    minus_ids: MinusIds = None
    k: Count = None
    where: Where = None
    names: Names = None
    windows: Windows = None


class SearchRequest(SearchForm, kw_only=True):
    """Texts, sounds, or ids of sounds."""

    audio: Files = None


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
        Meta(description="of the file; null without `--allow-audio`, or where it may not be sent"),
    ] = None


class LibraryReply(Struct, kw_only=True):
    """What is searched."""

    sounds: int
    rows: int
    fingerprint: str
    audio: Annotated[bool, Meta(description="whether sounds can be played (`--allow-audio`)")]
