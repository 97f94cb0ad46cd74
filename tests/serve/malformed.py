"""Requests as no good client sends them: a seeded generator of any number, and what has to come back.

Every case gets an answer that refuses it, or a closed connection, within a bounded time. The cases themselves are in
`bad_messages` (WebSocket) and `bad_requests` (HTTP). `benchmarks/fuzz_service.py` sends ten thousand, the tests a few
hundred of the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator

from tests.serve import bad_messages, bad_requests
from tests.serve.case import MESSAGE_MB, TIMEOUT_S, Case, Maker
from tests.serve.raw_sockets import Reply, http_reply, socket_reply, upgrade

BOUND_S = 12.0
"""Seconds within which every case has to be over: the service's time, and queues of what else is being asked."""
SERVICE = ("--max-message-mb", str(MESSAGE_MB), "--timeout-s", str(TIMEOUT_S), "--max-windows", "2")
"""Flags of the service that is to be asked."""
MAKERS: dict[str, tuple[Maker, int]] = {**bad_messages.kind.makers, **bad_requests.kind.makers}
"""How to make each kind of case, and how often it is drawn."""


def cases(count: int, seed: int) -> Iterator[Case]:
    """The first `count` cases of a seed, each of which depends on its number alone."""
    names, weights = list(MAKERS), [weight for _, weight in MAKERS.values()]
    for number in range(count):
        draw = random.Random(f"{seed}/{number}")
        yield MAKERS[draw.choices(names, weights)[0]][0](draw)


async def ask(case: Case, port: int) -> Reply:
    """What comes back: a reply, `end` of the connection, `left` where the client did not wait, or `silence`."""
    try:
        async with asyncio.timeout(BOUND_S):
            return await _asked(case, port)
    except TimeoutError:
        return Reply("silence")
    except (OSError, asyncio.IncompleteReadError):
        return Reply("end")


async def _asked(case: Case, port: int) -> Reply:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if case.upgraded:
            writer.write(upgrade(case.path))
            opened = await http_reply(reader)
            if opened.status != 101:
                return opened
        answer = asyncio.ensure_future((socket_reply if case.upgraded else http_reply)(reader))
        try:
            for part in case.parts:
                if answer.done():
                    break
                with contextlib.suppress(ConnectionError):  # it has been closed; the answer says how
                    writer.write(part)
                    if not case.leaves:
                        await writer.drain()
                if case.pause_s:
                    await asyncio.wait([answer], timeout=case.pause_s)
            return Reply("left") if case.leaves else await answer
        finally:
            answer.cancel()
            with contextlib.suppress(BaseException):
                await answer
    finally:
        writer.transport.abort() if case.leaves else writer.close()


def fault(case: Case, reply: Reply) -> str | None:
    """What is wrong with a reply, if anything is."""
    if reply.kind == "silence":
        return f"no answer within {BOUND_S} s"
    if reply.kind == "left":
        return None if case.leaves else "left"
    if reply.kind == "http" and not (400 <= reply.status < 500 or reply.status in (501, 503)):
        return f"status {reply.status}: {reply.message[:200]!r}"
    if reply.kind == "close" and reply.status in (1000, 1011):
        return f"close {reply.status}: {reply.message}"
    if reply.kind == "message" and not ("error" in reply.message or reply.message.get("status") == "ERROR"):
        return f"an answer as if nothing was wrong: {str(reply.message)[:200]}"
    return None


async def ask_all(given: Iterable[Case], port: int, at_once: int = 32) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Asks everything; how often each kind of case got each kind of reply, and every fault."""
    waiting = iter(given)
    counts: Counter[tuple[str, str]] = Counter()
    faults: list[str] = []

    async def worker() -> None:
        for case in waiting:
            reply = await ask(case, port)
            counts[case.kind, f"{reply.kind} {reply.status or ''}".strip()] += 1
            if (wrong := fault(case, reply)) is not None:
                faults.append(f"{case.kind}: {wrong}; sent {b''.join(case.parts)[:200]!r}")

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return counts, faults
