"""What a file is, from its first bytes."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import soundfile

from claprt.audio.files.containers import HEAD_BYTES, Reader, recognise
from claprt.audio.sound import open_sound
from claprt.errors import AudioDecodeError, UnfinishedHeaderWarning

NOISE = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)


def written(form: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, NOISE, 44_100, format=form, subtype=subtype)
    return file.getvalue()


WRITTEN = [
    ("WAV", "PCM_16", "WAV", "wav"), ("WAVEX", "PCM_16", "WAV", "wav"), ("RF64", "PCM_16", "WAV", "wav"),
    ("W64", "PCM_16", "Wave64", "w64"), ("AIFF", "PCM_16", "AIFF", "aiff"), ("SVX", "PCM_16", "8SVX/16SV", None),
    ("AU", "PCM_16", "AU", "au"), ("CAF", "PCM_16", "CAF", "caf"), ("FLAC", "PCM_16", "FLAC", "flac"),
    ("MP3", "MPEG_LAYER_III", "MPEG audio (MP3)", "mp3"), ("OGG", "VORBIS", "Ogg", "ogg"),
    ("NIST", "PCM_16", "NIST SPHERE", "nistsphere"), ("VOC", "PCM_16", "Creative VOC", "voc"),
    ("AVR", "PCM_16", "AVR", None), ("MAT4", "PCM_16", "MATLAB 4", None), ("MAT5", "PCM_16", "MATLAB 5", None),
    ("MPC2K", "PCM_16", "Akai MPC 2000", None), ("SDS", "PCM_16", "MIDI Sample Dump", "sds"),
    ("IRCAM", "PCM_16", "IRCAM", "ircam"), ("PVF", "PCM_16", "PVF", "pvf"), ("PAF", "PCM_16", "Ensoniq PARIS", "paf"),
    ("XI", "DPCM_16", "FastTracker instrument (XI)", None), ("HTK", "PCM_16", "HTK", None),
]  # fmt: skip


@pytest.mark.parametrize(("form", "subtype", "name", "media_format"), WRITTEN)
def test_what_libsndfile_writes(form: str, subtype: str, name: str, media_format: str | None) -> None:
    found = recognise(written(form, subtype)[:HEAD_BYTES])
    assert found is not None
    assert (found.name, found.reader, found.media_format) == (name, Reader.LIBSNDFILE, media_format)


def ogg_page(packet: bytes, serial: int = 1) -> bytes:
    return b"OggS\0\x02" + bytes(8) + serial.to_bytes(4, "little") + bytes(8) + bytes([1, len(packet)]) + packet


BOX = (24).to_bytes(4, "big")
ADTS = bytes([0xFF, 0xF1, 0x50, 0x80, 0x02, 0x1F, 0xFC, *bytes(9)])  # 16 bytes each
MEDIA = {
    "m4a": (BOX + b"ftypM4A \0\0\0\0M4A mp42" + bytes(40), "mov"),
    "QuickTime without ftyp": (BOX + b"moov" + bytes(40), "mov"),
    "QuickTime, wide": ((8).to_bytes(4, "big") + b"wide" + BOX + b"mdat" + bytes(40), "mov"),
    "fragments": (BOX + b"styp" + bytes(40), "mov"),
    "webm": (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01", "matroska"),
    "wma": (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(40), "asf"),
    "ADTS": (ADTS * 4, "aac"),
    "Speex": (ogg_page(b"Speex   1.2" + bytes(60)), "ogg"),
    "Theora": (ogg_page(b"\x80theora" + bytes(30)) + ogg_page(b"\x01vorbis" + bytes(22), 2), "ogg"),
    "AVI": (b"RIFF\x00\x10\x00\x00AVI LIST", "avi"),
    "AMR": (b"#!AMR\n" + bytes(30), "amr"),
    "AC-3": (b"\x0b\x77" + bytes(30), "ac3"),
    "WavPack": (b"wvpk" + bytes(30), "wv"),
    "DSF": (b"DSD " + bytes(30), "dsf"),
    "transport stream": ((b"\x47" + bytes(187)) * 4, "mpegts"),
}


@pytest.mark.parametrize("kind", MEDIA)
def test_what_ffmpeg_reads(kind: str) -> None:
    head, demuxer = MEDIA[kind]
    found = recognise(head)
    assert found is not None
    assert (found.reader, found.media_format) == (Reader.MEDIA, demuxer)


def archive(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.wav", written("WAV", "PCM_16"))
    else:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a.wav"))
    return file.getvalue()


def array_file() -> bytes:
    file = io.BytesIO()
    np.save(file, NOISE)
    return file.getvalue()


NO_SOUND = {
    "HTML page": b"\n<!DOCTYPE html><html><head><title>404</title>",
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n",
    "gzip": gzip.compress(b"x" * 100),
    "zip": archive("zip"),
    "tar": archive("tar"),
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "WebP": b"RIFF\x10\0\0\0WEBPVP8 ",
    "AVIF": BOX + b"ftypavif" + bytes(20),
    "MIDI": b"MThd\0\0\0\6\0\1\0\1\0\x60",
    "JSON": b'{"error": "not found"}',
    "XML": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "playlist": b"#EXTM3U\nhttp://example.org/a.mp3\n",
    "text": "Grüße aus dem Süden\n".encode() * 300,
    "text file": "Grüße\n".encode("utf-16") + "Wort für Wort\n".encode("utf-16-le") * 30,
    "a text": "caf\xe9 au lait, s'il vous pla\xeet, and some more words\n".encode("latin-1"),
    "npy": array_file(),
    "pickle": pickle.dumps({"samples": [1, 2]}),
    "SQLite": b"SQLite format 3\0" + bytes(40),
    "program": b"\x7fELF\2\1\1" + bytes(40),
}


@pytest.mark.parametrize("kind", NO_SOUND)
def test_what_holds_no_sound(kind: str) -> None:
    found = recognise(NO_SOUND[kind][:HEAD_BYTES])
    assert found is not None
    assert found.reader is Reader.NONE
    assert kind.lower() in found.name.lower()


def test_samples_without_a_header_are_nothing_known() -> None:
    for dtype in ("<i2", "<f4", "<f8", "u1"):
        raw = (NOISE * 100 + (128 if dtype == "u1" else 0)).astype(dtype).tobytes()
        assert recognise(raw[:HEAD_BYTES]) is None
    assert recognise(bytes(HEAD_BYTES)) is None
    assert recognise(b"") is None


def test_tags_in_front() -> None:
    """Behind an ID3 tag the sound decides, where it is near enough to be seen."""
    tag = b"ID3\3\0\0\0\0\1\0" + bytes(128)
    flac, mp3 = written("FLAC", "PCM_16"), written("MP3", "MPEG_LAYER_III")
    for sound, name in ((flac, "FLAC"), (mp3, "MPEG audio (MP3)"), (tag + mp3, "MPEG audio (MP3)")):
        found = recognise((tag + sound)[:HEAD_BYTES])
        assert found is not None
        assert found.name == name


def test_one_word_of_mpeg_is_not_enough() -> None:
    frame = written("MP3", "MPEG_LAYER_III")[:4]
    assert recognise(frame + np.random.default_rng(1).bytes(4_000)) is None


def test_the_warning_is_one_that_can_be_filtered() -> None:
    assert issubclass(UnfinishedHeaderWarning, UserWarning)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x02#!SILK_V3" + bytes(40), "SILK"),
        (b"\x02dss\x01" + bytes(600), "DSS"),
        (b"OFR \x0c\0\0\0" + bytes(40), "OptimFROG"),
        (b".SoX\x1c\0\0\0" + bytes(40), "SoX"),
        (b"nut/multimedia container\0" + bytes(40), "NUT"),
        (b"RIFF\x40\0\0\0QLCMfmt " + bytes(40), "QCELP"),
        (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01" + bytes(40), "MXF"),
    ],
)
def test_sound_that_is_not_read_is_not_called_something_else(head: bytes, name: str) -> None:
    for source in (head, io.BytesIO(head)):
        with pytest.raises(AudioDecodeError, match=f"is .*{name}.*, which is not read here. Convert it") as caught:
            open_sound(source, None, 48_000)
        assert "holds no sound" not in str(caught.value)
