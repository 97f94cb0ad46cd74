"""Kinds of files, and the bytes that tell them apart: what `claprt.audio.files.containers` looks up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reader(StrEnum):
    """Which library reads a container."""

    LIBSNDFILE = "libsndfile"
    MEDIA = "media"
    """FFmpeg's libraries, through PyAV: the extra `media`."""
    UNREAD = "unread"
    """It holds sound in a form that is not decoded here."""
    NONE = "none"
    """It does not hold sound."""


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of file."""

    name: str
    """For sentences: "WAV", "Matroska/WebM", "an HTML page"."""
    reader: Reader
    media_format: str | None = None
    """FFmpeg's name of the demuxer. Beside `Reader.LIBSNDFILE`: for the codecs that libsndfile does not decode."""


def kind_of_sound(name: str, media_format: str | None = None) -> Container:
    """A container that libsndfile reads."""
    return Container(name, Reader.LIBSNDFILE, media_format)


def kind_of_media(name: str, media_format: str) -> Container:
    """A container that FFmpeg's libraries read."""
    return Container(name, Reader.MEDIA, media_format)


def not_read(name: str) -> Container:
    """A container of sound that nothing here decodes."""
    return Container(name, Reader.UNREAD)


def not_sound(name: str) -> Container:
    """A file without sound."""
    return Container(name, Reader.NONE)


WAV = kind_of_sound("WAV", "wav")
W64 = kind_of_sound("Wave64", "w64")
AIFF = kind_of_sound("AIFF", "aiff")
SVX = kind_of_sound("8SVX/16SV")
AU = kind_of_sound("AU", "au")
CAF = kind_of_sound("CAF", "caf")
FLAC = kind_of_sound("FLAC", "flac")
MPEG = kind_of_sound("MPEG audio (MP3)", "mp3")
OGG = kind_of_sound("Ogg", "ogg")
OGG_OTHER = kind_of_media("Ogg with a codec other than Vorbis, Opus and FLAC", "ogg")
NIST = kind_of_sound("NIST SPHERE", "nistsphere")
VOC = kind_of_sound("Creative VOC", "voc")
AVR = kind_of_sound("AVR")
MAT4 = kind_of_sound("MATLAB 4")
MAT5 = kind_of_sound("MATLAB 5")
MPC2K = kind_of_sound("Akai MPC 2000")
SDS = kind_of_sound("MIDI Sample Dump", "sds")
IRCAM = kind_of_sound("IRCAM", "ircam")
PVF = kind_of_sound("PVF", "pvf")
PAF = kind_of_sound("Ensoniq PARIS", "paf")
XI = kind_of_sound("FastTracker instrument (XI)")
HTK = kind_of_sound("HTK")
WVE = kind_of_sound("Psion WVE")
MP4 = kind_of_media("MPEG-4 (m4a, mp4, mov)", "mov")
MATROSKA = kind_of_media("Matroska/WebM", "matroska")
ASF = kind_of_media("ASF (wma, wmv)", "asf")
ADTS = kind_of_media("AAC (ADTS)", "aac")

TEXT = not_sound("a text file")

# What begins with these bytes is this.
MAGIC: tuple[tuple[bytes, Container], ...] = (
    (b"fLaC", FLAC),
    (b".snd", AU),
    (b"dns.", AU),
    (b"caff", CAF),
    (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", W64),
    (b"NIST_1A", NIST),
    (b"Creative Voice File\x1a", VOC),
    (b"2BIT", AVR),
    (b"MATLAB 5.0 MAT-file", MAT5),
    (b"\x00\x00\x03\xe8\x00\x00\x00\x01\x00\x00\x00\x01", MAT4),
    (b"\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00", MAT4),
    (b"\x01\x04", MPC2K),
    (b"PVF1", PVF),
    (b" paf", PAF),
    (b"fap ", PAF),
    (b"Extended Instrument: ", XI),
    (b"ALawSoundFile**", WVE),
    (b"\x1a\x45\xdf\xa3", MATROSKA),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ASF),
    (b"wvpk", kind_of_media("WavPack", "wv")),
    (b"TTA1", kind_of_media("True Audio (tta)", "tta")),
    (b"TTA2", kind_of_media("True Audio (tta)", "tta")),
    (b"MAC ", kind_of_media("Monkey's Audio (ape)", "ape")),
    (b"MPCK", kind_of_media("Musepack (mpc)", "mpc8")),
    (b"MP+", kind_of_media("Musepack (mpc)", "mpc")),
    (b"tBaK", kind_of_media("TAK", "tak")),
    (b"ajkg", kind_of_media("Shorten (shn)", "shn")),
    (b"OFR ", not_read("OptimFROG")),
    (b"LA04", not_read("Lossless Audio (la)")),
    (b"#!SILK_V3", not_read("SILK (a voice message of WeChat, QQ or Skype)")),
    (b"\x02#!SILK_V3", not_read("SILK (a voice message of WeChat, QQ or Skype)")),
    (b"\x02dss", not_read("DSS (a dictation)")),
    (b"\x03dss", not_read("DSS (a dictation)")),
    (b"\x03ds2", not_read("DS2 (a dictation)")),
    (b".SoX", not_read("SoX's own format (sox)")),
    (b"XoS.", not_read("SoX's own format (sox)")),
    (b"nut/multimedia container\0", not_read("NUT")),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", not_read("MXF")),
    (b"\xb7\xd8\x00\x20\x37\x49\xda\x11", not_read("a recording of Windows Media Center (wtv)")),
    (b"DTSHDHDR", not_read("DTS-HD")),
    (b"FSB4", not_read("a sound bank of FMOD (fsb)")),
    (b"FSB5", not_read("a sound bank of FMOD (fsb)")),
    (b"VAGp", not_read("VAG (PlayStation)")),
    (b"HCA\0", not_read("HCA")),
    (b"DSD ", kind_of_media("DSF (DSD)", "dsf")),
    (b"FRM8", kind_of_media("DSDIFF (DSD)", "iff")),
    (b"#!AMR", kind_of_media("AMR", "amr")),
    (b"\x0b\x77", kind_of_media("AC-3", "ac3")),
    (b"\x7f\xfe\x80\x01", kind_of_media("DTS", "dts")),
    (b"\xfe\x7f\x01\x80", kind_of_media("DTS", "dts")),
    (b"\x1f\xff\xe8\x00", kind_of_media("DTS", "dts")),
    (b"\xff\x1f\x00\xe8", kind_of_media("DTS", "dts")),
    (b"FLV\x01", kind_of_media("Flash video (flv)", "flv")),
    (b"\x00\x00\x01\xba", kind_of_media("an MPEG programme stream (mpg, vob)", "mpeg")),
    (b".RMF", kind_of_media("RealMedia", "rm")),
    (b".ra\xfd", kind_of_media("RealAudio", "rm")),
    (b"MThd", not_sound("MIDI, which holds notes and not sound; render it first (fluidsynth -F out.wav)")),
    (b"\x1f\x8b", not_sound("a gzip archive; unpack it first")),
    (b"PK\x03\x04", not_sound("a zip archive; unpack it first")),
    (b"PK\x05\x06", not_sound("an empty zip archive")),
    (b"7z\xbc\xaf\x27\x1c", not_sound("a 7z archive; unpack it first")),
    (b"Rar!\x1a\x07", not_sound("a rar archive; unpack it first")),
    (b"\xfd7zXZ\x00", not_sound("an xz archive; unpack it first")),
    (b"\x28\xb5\x2f\xfd", not_sound("a zstd archive; unpack it first")),
    (b"\x04\x22\x4d\x18", not_sound("an lz4 archive; unpack it first")),
    (b"BZh", not_sound("a bzip2 archive; unpack it first")),
    (b"%PDF", not_sound("a PDF document")),
    (b"{\\rtf", not_sound("an RTF document")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", not_sound("an Office document")),
    (b"\x89PNG\r\n\x1a\n", not_sound("a PNG picture")),
    (b"\xff\xd8\xff", not_sound("a JPEG picture")),
    (b"GIF8", not_sound("a GIF picture")),
    (b"II*\x00", not_sound("a TIFF picture")),
    (b"MM\x00*", not_sound("a TIFF picture")),
    (b"8BPS", not_sound("a Photoshop picture")),
    (b"\x93NUMPY", not_sound("a numpy array (npy); give the array itself: embed_audio(numpy.load(file), sample_rate)")),
    (b"\x89HDF\r\n\x1a\n", not_sound("an HDF5 file")),
    (b"PAR1", not_sound("a Parquet table")),
    (b"ARROW1", not_sound("an Arrow table")),
    (b"SQLite format 3\x00", not_sound("an SQLite database")),
    (b"\x7fELF", not_sound("an ELF program")),
    (b"MZ\x90\x00", not_sound("a Windows program")),
    (b"\xca\xfe\xba\xbe", not_sound("a program")),
    (b"\xcf\xfa\xed\xfe", not_sound("a program")),
    (b"\x00asm", not_sound("a WebAssembly program")),
    (b"wOF", not_sound("a font")),
    (b"\x80\x02", not_sound("a Python pickle")),
    (b"\x80\x03", not_sound("a Python pickle")),
    (b"\x80\x04\x95", not_sound("a Python pickle")),
    (b"\x80\x05\x95", not_sound("a Python pickle")),
    (b"Extended Module: ", not_sound("a tracker module (xm), which holds notes; render it first")),
    (b"IMPM", not_sound("a tracker module (it), which holds notes; render it first")),
)

RIFF = {
    b"WAVE": WAV,
    b"AVI ": kind_of_media("AVI", "avi"),
    b"XWMA": kind_of_media("xWMA", "xwma"),
    b"QLCM": not_read("QCELP (qcp)"),
    b"RMID": not_sound("MIDI, which holds notes and not sound; render it first (fluidsynth -F out.wav)"),
    b"WEBP": not_sound("a WebP picture"),
    b"sfbk": not_sound("a SoundFont"),
    b"DLS ": not_sound("a DLS instrument"),
}
FORM = {b"AIFF": AIFF, b"AIFC": AIFF, b"8SVX": SVX, b"16SV": SVX, b"ILBM": not_sound("an ILBM picture")}

# The first atom of QuickTime and MPEG-4 files; what is written in pieces begins with styp or moof.
ATOMS = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof", b"sidx"}
PICTURES = {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}

TEXTS: tuple[tuple[str, Container], ...] = (
    (
        r"version https://(?:git-lfs\.github\.com|hawser\.github\.com)",
        not_sound("a git-lfs pointer, not the file it stands for; run git lfs pull"),
    ),
    (r"<!doctype html|<html|<head\b|<body\b", not_sound("an HTML page (an error page of a download, often)")),
    (r"<svg\b|<\?xml[^>]*>\s*(?:<!--[\s\S]*?-->\s*|<!doctype svg[^>]*>\s*)*<svg\b", not_sound("an SVG picture")),
    (r"<\?xml[^>]*>[\s\S]{0,400}<(?:html|!doctype html)", not_sound("an HTML page (an error page of a download, often)")),
    (r"<\?xml|<[a-z][\w:-]*[\s>/]", not_sound("an XML document (an error message of a download, often)")),
    (r"#EXTM3U|\[playlist\]", not_sound("a playlist; give the sounds that it names")),
    (r"data:[\w.+-]+/[\w.+-]+[;,]", not_sound("a data: URI; give the bytes that it encodes")),
    (r"[\[{]", not_sound("a JSON text (an error message of a download, often)")),
)
