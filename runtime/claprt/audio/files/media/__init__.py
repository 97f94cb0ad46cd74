"""Sound in the containers that libsndfile does not read, through FFmpeg's libraries (PyAV, the extra `media`).

Nothing but the file that was handed in is read: the demuxer is chosen by what the file is, not by trying them all, and what
a container refers to is not opened. Only decoders of sound run, on one thread. Nothing is repaired: a packet that is
corrupt or missing, a file that is cut, or ends before the length that it states, is refused.

    structure    what a container states about itself, read before FFmpeg reads it
    boxes        the same for MPEG-4 and QuickTime
    formats      what FFmpeg's formats state of times, and how exact that is
    source       the file, for FFmpeg
    stream       packets to frames, and what must hold between them
    samples      frames to mono samples
    errors       errors that several containers share
"""

from __future__ import annotations

from claprt.audio.files.binary import BinaryFile
from claprt.audio.files.containers import Container, Opened
from claprt.errors import AudioDecodeError, EmptyAudioError
from claprt.system.extras import install_hint


def open_media(name: str, file: BinaryFile, container: Container) -> Opened:
    """Open the sound of a container: the stream that is marked as the default, else the first.

    Args:
        name: What to call the file in messages.
        file: Stays open.
        container: What `claprt.audio.files.containers.recognise` said; its `media_format` names the demuxer.

    Returns:
        Rate and channels of the first samples, and the blocks, which are decoded as they are asked for.

    Raises:
        AudioDecodeError: If PyAV is not installed, or the file is incomplete, or holds nothing that can be decoded.
        AudioShapeError: If it has too many channels.
        EmptyAudioError: If it holds no samples.
    """
    try:
        from claprt.audio.files.media.stream import Stream
    except ImportError as error:
        raise AudioDecodeError(
            f"{name} is {container.name}, which is read with PyAV, and that is not installed: {install_hint('media')}. Or "
            "convert the file: ffmpeg -i FILE out.wav."
        ) from error
    from claprt.audio.files.media.source import Source
    from claprt.audio.files.media.structure import check_structure

    source = Source(file)
    try:
        check_structure(name, source, container.media_format or "")
    finally:
        source.raise_error(name)
    stream = Stream(name, source, container)
    try:
        first = stream.first()
        if first is None:
            raise EmptyAudioError(f"{name} holds no samples.")
    except BaseException:
        stream.close()
        raise
    return Opened(first.rate, first.channels, stream.blocks(first), stream.close)
