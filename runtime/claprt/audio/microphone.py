"""Sound from a microphone, by sounddevice (PortAudio)."""

from __future__ import annotations

import importlib
import queue
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.errors import AudioError, MissingDependencyError, OptionError
from claprt.system.extras import install_hint

_BLOCK_S = 0.1
_WAITING_S = 30
"""Seconds of sound that may wait to be taken."""


class Microphone:
    """An open microphone; leaving the `with` block closes it."""

    def __init__(self, device: int | str | None = None, rate: int | None = None, channels: int = 1) -> None:
        """Open a microphone.

        Args:
            device: Its number, or a part of its name; None for the system's default.
            rate: In Hz; None for the device's own.
            channels: To record, which are mixed to mono.

        Raises:
            MissingDependencyError: If sounddevice or PortAudio is not installed.
            OptionError: If there is no such device, or it cannot record like this.
        """
        try:
            sounddevice: Any = importlib.import_module("sounddevice")
        except ImportError as error:
            raise MissingDependencyError(f"A microphone needs sounddevice: {install_hint('listen')}.") from error
        except OSError as error:  # what it says where PortAudio is missing
            raise MissingDependencyError(
                f"A microphone needs PortAudio, which is not on this system ({error}). Debian has it as libportaudio2."
            ) from error
        self._waiting: queue.Queue[NDArray[Any]] = queue.Queue(round(_WAITING_S / _BLOCK_S))
        self._overrun = False
        self._refused: type[Exception] = sounddevice.PortAudioError
        try:
            facts: Any = sounddevice.query_devices(device, "input")
            self.rate = rate or round(facts["default_samplerate"])
            self.name = str(facts["name"])
            self._stream: Any = sounddevice.InputStream(
                samplerate=self.rate,
                blocksize=round(self.rate * _BLOCK_S),
                device=device,
                channels=channels,
                dtype="float32",
                callback=self._take,
            )
        except (self._refused, ValueError) as error:
            raise OptionError(
                f"The microphone cannot be opened: {error}. `python -m sounddevice` lists devices."
            ) from error

    def __enter__(self) -> Microphone:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Blocks [samples, channels] float32 as they are recorded, from the first call on until the `with` block is left.

        Raises:
            OptionError: If recording cannot begin.
            AudioError: If it stops, or half a minute of sound waits, because it is not taken fast enough.
        """
        try:
            self._stream.start()
        except self._refused as error:
            raise OptionError(f"The microphone cannot be used: {error}.") from error
        while True:
            try:
                yield self._waiting.get(timeout=0.2)  # an interrupt is noticed between
            except queue.Empty:
                if not self._stream.active:
                    raise AudioError("The microphone stopped recording; was it unplugged?") from None
            if self._overrun:
                raise AudioError(
                    "The model is slower than the sound: half a minute of it waits. Name a longer --hop, or a faster model."
                )

    def _take(self, block: NDArray[np.float32], *_: object) -> None:
        """Called by PortAudio's thread, with a buffer that is used again."""
        try:
            self._waiting.put_nowait(block.copy())
        except queue.Full:
            self._overrun = True
