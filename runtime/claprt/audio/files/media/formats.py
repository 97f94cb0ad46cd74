"""What FFmpeg's formats state about time, length and place, and how far they may be off; by the names of its demuxers."""

from __future__ import annotations

GAP = 0.1  # seconds between packets of one sound: browsers state their times within some tens of milliseconds
SHORT = 0.1  # seconds that a decoder may keep to itself
SHORT_OF = {"asf": 0.25, "xwma": 0.25}

STATES_LENGTH = {
    *("mov", "ogg", "flac", "wv", "tta", "ape", "mpc", "mpc8", "tak", "dsf", "iff", "asf", "xwma"),
    *("caf", "aiff", "wav", "w64", "au", "voc", "nistsphere", "sds", "ircam", "pvf", "paf"),
}
"""Formats that state how long their sound is; in others FFmpeg guesses it from the bit rate."""

CONTIGUOUS = {"aac", "ac3", "eac3", "dts", "amr", "flac", "mp3", "wv", "tta"}
"""Formats that are nothing but packets, one behind the other."""

NOTHING_BEHIND = {"aac", "ac3", "eac3", "dts", "amr"}
"""Of those, the ones whose last packet may be cut without a word; tags may follow it."""

TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"\0")
WITHOUT_TIMES = {"avi", "mpeg", "rm", "mp3", "aac", "ac3", "eac3", "dts"}
"""Formats whose packets have no times, or only guessed ones."""
