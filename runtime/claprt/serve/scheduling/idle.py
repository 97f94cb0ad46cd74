"""Unloads the towers of a model that gets no requests, and gives their memory back; the next request loads them again."""

from __future__ import annotations

import asyncio
import gc
import time

from claprt.engines.hardware import trim_heap
from claprt.engines.in_process import InProcessEngine
from claprt.errors import OptionError
from claprt.serve.scheduling.service import Service

_LONGEST_S = 30 * 24 * 3600.0


class IdleUnload:
    """Watches for requests that use the model; health checks, metrics and open connections without messages do not."""

    def __init__(self, service: Service, after_s: float) -> None:
        """Prepare the watch; `run` is it.

        Args:
            service: Whose towers are unloaded.
            after_s: Seconds without such a request after which the towers are unloaded.

        Raises:
            OptionError: If `after_s` is not a number of seconds, or the towers run on a server.
        """
        if not 0 < after_s <= _LONGEST_S:
            raise OptionError(f"idle_unload_s={after_s} is not possible; give seconds above 0, up to 30 days.")
        engine = service.clap.engine
        if not isinstance(engine, InProcessEngine):
            which = f"those of {service.label}" if service.label else "these"
            raise OptionError(f"idle_unload_s is for towers in this process, and {which} run on {engine.provider}.")
        self._engine, self._service, self._after_s = engine, service, after_s

    async def run(self) -> None:
        """Unload whenever it is time, until cancelled."""
        began, batcher = time.monotonic(), self._service.batcher
        while True:
            left = max(began, batcher.last_use) + self._after_s - time.monotonic()
            if left > 0 or batcher.in_use:
                await asyncio.sleep(max(left, min(1.0, self._after_s)))
                continue
            if self._engine.loaded:
                await asyncio.to_thread(self._unload)
            await asyncio.sleep(min(1.0, self._after_s))

    def _unload(self) -> None:
        gc.collect()
        self._engine.unload()
        self._service.batcher.renew_threads()
        trim_heap()
