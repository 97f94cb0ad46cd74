"""Certificates of the tests' own, made with the openssl command, and TLS in front of a port that has none."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Files in PEM."""

    file: str
    key: str


def authority(folder: Path, name: str) -> Certificate:
    """Whom to trust."""
    made = Certificate(file=str(folder / f"{name}.pem"), key=str(folder / f"{name}.key"))
    _openssl("req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}", "-keyout", made.key, "-out", made.file)
    return made


def signed(folder: Path, name: str, by: Certificate) -> Certificate:
    """A certificate for 127.0.0.1, and for nothing else."""
    made = Certificate(file=str(folder / f"{name}.pem"), key=str(folder / f"{name}.key"))
    request, names = folder / f"{name}.csr", folder / f"{name}.names"
    names.write_text("subjectAltName=IP:127.0.0.1\n", encoding="ascii")
    _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", made.key, "-out", str(request))
    signs = ("-CA", by.file, "-CAkey", by.key, "-CAcreateserial", "-days", "2", "-extfile", str(names))
    _openssl("x509", "-req", "-in", str(request), *signs, "-out", made.file)
    return made


def _openssl(*arguments: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command, which makes certificates")
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@contextmanager
def tls_before(port: int, certificate: Certificate) -> Generator[int, None, None]:
    """A port that speaks TLS and passes on to another, as a proxy before Triton's HTTP does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)
    ready, ports = threading.Event(), list[int]()
    loop, done = asyncio.new_event_loop(), asyncio.Event()

    async def passed_on(from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pumped(from_client, to_server), _pumped(from_server, to_client))

    async def listen() -> None:
        loop.set_exception_handler(lambda *_: None)  # handshakes that fail are what some tests are about
        async with await asyncio.start_server(passed_on, "127.0.0.1", 0, ssl=context) as listening:
            ports.append(listening.sockets[0].getsockname()[1])
            ready.set()
            await done.wait()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        thread = threading.Thread(target=runner.run, args=(listen(),))
        thread.start()
        try:
            assert ready.wait(10)
            yield ports[0]
        finally:
            loop.call_soon_threadsafe(done.set)
            thread.join(10)


async def _pumped(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()
