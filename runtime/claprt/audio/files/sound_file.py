"""Sound files to blocks of mono samples: what a file is, and who reads it.

The first bytes decide, never the name, so that a path, bytes, a file object and a pipe give the same samples or the same
sentence. Files are read in blocks, so an hour of sound never stands in memory. Nothing is repaired, and no part is taken
for the whole: before libsndfile decodes a file, its structure is compared with what its header states (`chunks`,
`ogg`, `mpeg_stream`, `flac`, `stated_lengths`), because a vector of half a sound looks like any other vector.
docs/formats.md has the rules of each format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from claprt.audio.decode import check_finite
from claprt.audio.files import magic
from claprt.audio.files.binary import BinaryFile, Part
from claprt.audio.files.byte_source import open_binary
from claprt.audio.files.containers import HEAD_BYTES, Container, Opened, Reader, recognise
from claprt.audio.resample import Samples
from claprt.errors import AudioDecodeError, EmptyAudioError

if TYPE_CHECKING:
    from claprt.audio.files.chunks import SampleData


def open_sound_file(name: str, source: object) -> Opened:
    """Open a path, the bytes of a file, or a binary file object.

    Raises:
        AudioError: If it cannot be read or is not a sound.
    """
    file = open_binary(name, source)
    try:
        opened = _open(name, file)
    except BaseException:
        file.close()
        raise

    def close() -> None:
        opened.close()
        file.close()

    return Opened(opened.rate, opened.channels, _blocks(name, opened, file, close), close)


def _blocks(name: str, opened: Opened, file: BinaryFile, close: Callable[[], None]) -> Iterator[Samples]:
    try:
        for block in opened.blocks:
            file.raise_error(name)
            yield check_finite(name, block)
        file.raise_error(name)
    finally:
        close()


def _open(name: str, file: BinaryFile) -> Opened:
    if not file.size:
        raise EmptyAudioError(f"{name} is empty: it holds no bytes.")
    head = file.read_at(0, HEAD_BYTES)
    file.raise_error(name)
    container, begin = recognise(head), 0
    if head[:3] == b"ID3" and container is magic.MPEG:  # its tag may be longer than the head
        from claprt.audio.files.mpeg_stream import behind_tags

        behind = behind_tags(file)
        container = recognise(file.read_at(behind, HEAD_BYTES)) or magic.MPEG
    if container is None:
        container, begin = _look_further(name, file)
    if container.reader is Reader.NONE:
        raise AudioDecodeError(f"{name} holds no sound: its first bytes are those of {container.name}.")
    if container.reader is Reader.UNREAD:
        raise AudioDecodeError(
            f"{name} is {container.name}, which is not read here. Convert it to WAV with a program that plays it "
            "(ffmpeg -i FILE out.wav)."
        )
    if container.reader is Reader.LIBSNDFILE:
        from claprt.audio.files.libsndfile import UndecodableError, open_parts

        parts = _parts(name, file, container, begin)
        file.raise_error(name)
        is_damaged = False
        if parts is not None:
            try:
                return open_parts(name, parts, container)
            except UndecodableError as error:
                if container.media_format is None or not (error.unimplemented or _may_be_media(container)):
                    raise AudioDecodeError(str(error)) from error.__cause__
                is_damaged = not error.unimplemented
        if not is_damaged:
            what = f"{container.name} with a codec or a depth that libsndfile does not decode"
            container = Container(what, Reader.MEDIA, container.media_format)
    return _open_media(name, file, container)


def _open_media(name: str, file: BinaryFile, container: Container) -> Opened:
    from claprt.audio.files.media import open_media

    return open_media(name, file, container)


def _may_be_media(container: Container) -> bool:
    """Whether FFmpeg, where it is installed, may decode what libsndfile takes for damaged."""
    from importlib.util import find_spec

    return container in {magic.MPEG, magic.FLAC, magic.OGG} and find_spec("av") is not None


def _look_further(name: str, file: BinaryFile) -> tuple[Container, int]:
    from claprt.audio.files.mpeg_stream import find_frames

    begin = find_frames(file)
    file.raise_error(name)
    if begin is None:
        raise AudioDecodeError(
            f"{name} begins with nothing that says what it is ({file.read_at(0, 8).hex(' ')}). Raw samples go in as an "
            "array: embed_audio(numpy.frombuffer(data, 'int16'), sample_rate); a service takes them within a WAV file."
        )
    return magic.MPEG, begin


def _parts(name: str, file: BinaryFile, container: Container, begin: int) -> list[Part] | None:
    """What libsndfile is given, or None where it cannot decode it."""
    if container is magic.MPEG:
        from claprt.audio.files.mpeg_stream import streams

        return streams(name, file, begin)
    if container is magic.OGG:
        from claprt.audio.files.ogg import streams as ogg_streams

        return ogg_streams(name, file)
    if container is magic.FLAC:
        from claprt.audio.files.flac import flac

        return flac(name, file)
    if container in _chunked():
        found = _chunked()[container](name, file)
        return [Part(file)] if found is None else _in_chunks(name, file, *found)
    from claprt.audio.files.stated_lengths import stated_samples

    return [Part(file, stated_samples(name, container, file))]


def _chunked() -> dict[Container, Callable[[str, BinaryFile], tuple[SampleData, Part] | None]]:
    from claprt.audio.files import chunked

    return {
        magic.WAV: chunked.wav, magic.W64: chunked.w64, magic.AIFF: chunked.aiff, magic.SVX: chunked.aiff,
        magic.CAF: chunked.caf, magic.AU: chunked.au,
    }  # fmt: skip


def _in_chunks(name: str, file: BinaryFile, header: SampleData, part: Part) -> list[Part] | None:
    if header.is_foreign:
        return None
    if header.is_mpeg:
        from claprt.audio.files.mpeg_stream import streams

        return streams(name, file, header.begin, min(file.size, header.begin + header.stated))
    return [part]
