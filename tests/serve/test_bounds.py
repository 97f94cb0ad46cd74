"""Clients that hold on: slow ones, endless ones, those that do not read, too many of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.serve.case import MESSAGE_MB, TIMEOUT_S, Case, samples
from tests.serve.malformed import ask
from tests.serve.process import Process
from tests.serve.raw_sockets import BINARY, Reply, frame, http_reply, request, upgrade

SLACK_S = 2.0
JSON = {"Content-Type": "application/json"}
LONG_NAME = json.dumps({"embedding": [0.5] * 512, "sound_id": "x" * 100_000})
"""Its reply is as long."""


def answer_to(port: int, *parts: bytes, upgraded: bool = False, pause_s: float = 0.0) -> tuple[Reply, float]:
    """What comes back, and after how many seconds."""
    started = time.monotonic()
    reply = asyncio.run(ask(Case(kind="", parts=parts, upgraded=upgraded, pause_s=pause_s), port))
    return reply, time.monotonic() - started


def bytewise(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[n : n + 1] for n in range(len(data)))


@pytest.mark.parametrize(
    ("parts", "upgraded", "expected"),
    [
        (bytewise(request("GET", "/readyz")), False, Reply("http", 408)),
        (bytewise(upgrade()), False, Reply("http", 408)),
        ((b"",), False, Reply("http", 408)),
        ((request("POST", "/tag", {**JSON, "Content-Length": "99"}), *bytewise(b'{"a": "' * 9)), False, Reply("http", 408)),
        (bytewise(frame(samples(9000), BINARY)), True, Reply("close", 1008)),
        ((frame(b"", BINARY, length=100),), True, Reply("close", 1008)),
        ((frame(b"{", fin=False), *(frame(b" ", 0, fin=False) for _ in range(60))), True, Reply("close", 1008)),
    ],
    ids=["headers", "handshake", "nothing", "body", "frame", "a frame's head", "fragments"],
)  # fmt: skip
def test_a_byte_now_and_then_buys_no_time(
    strict: Process, parts: tuple[bytes, ...], upgraded: bool, expected: Reply
) -> None:
    reply, took = answer_to(strict.port, *parts, upgraded=upgraded, pause_s=0.1)
    assert (reply.kind, reply.status) == (expected.kind, expected.status), reply
    assert TIMEOUT_S - 0.1 <= took < TIMEOUT_S + SLACK_S
    assert "too long to arrive" in str(reply.message)


def test_a_body_that_nobody_wants_is_not_read_for_ever(strict: Process) -> None:
    async def sent_on() -> tuple[int, int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", strict.port)
        writer.write(request("POST", "/nowhere", {"Content-Length": str(1 << 20)}))
        status, sent = (await http_reply(reader)).status, 0
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    sent += 1
                    await asyncio.sleep(0.05)
        writer.close()
        return status, sent

    status, sent = asyncio.run(sent_on())
    assert status == 404
    assert sent < 100


@pytest.mark.parametrize("what", [b"X-Long: ", b"\r\nX-Many: 1"])
def test_headers_without_end_cost_no_memory(strict: Process, what: bytes) -> None:
    before, sent = strict.rss_mb(), 0
    piece = what * 8192 if what.startswith(b"\r") else b"y" * 65_536
    with socket.create_connection(("127.0.0.1", strict.port), timeout=10) as client, contextlib.suppress(OSError):
        client.sendall(b"GET / HTTP/1.1\r\n" + what)
        while sent < 256 << 20:
            client.sendall(piece)
            sent += len(piece)
    assert sent < 16 << 20  # what kernels buffer
    assert strict.rss_mb() < before + 10


def test_headers_that_come_at_once_have_the_same_bound(strict: Process) -> None:
    for target, headers in (("/readyz", {"X-Long": "y" * 20_000}), ("/" + "p" * 20_000, {})):
        reply, _ = answer_to(strict.port, request("GET", target, headers))
        assert (reply.kind, reply.status) == ("http", 431)


@pytest.mark.parametrize("headers", [{"Cookie": "c" * 9000}, {f"X-{number}": "y" for number in range(140)}])
def test_a_handshake_beyond_what_websockets_reads_is_answered(strict: Process, headers: dict[str, str]) -> None:
    reply, took = answer_to(strict.port, upgrade(headers=headers))
    assert reply.kind == "http"
    assert reply.status in (400, 431)  # the former before websockets 17
    assert took < TIMEOUT_S


def test_two_lengths_are_refused(strict: Process) -> None:
    """With the smaller one the larger body would get past the limit on bodies."""
    body = b"%x\r\n%s\r\n" % (2 << 20, b" " * (2 << 20))
    reply, _ = answer_to(
        strict.port, request("POST", "/classify", {**JSON, "Content-Length": "2", "Transfer-Encoding": "chunked"}, body)
    )
    assert (reply.kind, reply.status) in (("http", 400), ("end", 0))


def test_messages_have_a_size_and_are_not_unpacked(strict: Process) -> None:
    reply, _ = answer_to(strict.port, frame(b"", BINARY, length=(MESSAGE_MB << 20) + 1), upgraded=True)
    assert (reply.kind, reply.status) == ("close", 1009)
    reply, _ = answer_to(strict.port, frame(b"{", fin=False), frame(b"", 0, fin=False) * 5000, upgraded=True)
    assert (reply.kind, reply.status) == ("close", 1009)
    assert "fragments" in reply.message
    with connect(strict.url("/clap", "ws"), compression="deflate") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
    reply, _ = answer_to(strict.port, frame(b"x", reserved=4), upgraded=True)  # which says that it is compressed
    assert (reply.kind, reply.status) == ("close", 1002)


def many(value: bytes, megabytes: int) -> bytes:
    return b"[" + b",".join([value] * ((megabytes << 20) // (len(value) + 1))) + b"]"


@pytest.mark.timing
@pytest.mark.parametrize(
    ("path", "make", "status"),
    [
        ("/v1/embeddings", lambda: b'{"input": %s}' % many(b"0", 32), 422),
        ("/v1/embeddings", lambda: b'{"modality": "audio", "input": "data:,%s"}' % (b"%zz" * 10_000_000), 400),
        ("/v1/embeddings", lambda: b'{"modality": "audio", "input": "%s"}' % (b"AA " * 10_000_000), 400),
        ("/v1/embeddings", lambda: b'{"input": %s}' % many(b'"a"', 32), 400),
        ("/v1/embeddings", lambda: b'{"input": %s}' % many(b'"\\""', 32), 400),
        ("/classify", lambda: json.dumps({"audio": "AAAA", "labels": [f"{n:x}" for n in range(120_000)]}).encode(), 400),
        ("/classify", lambda: b'{"audio": "AAAA", "labels": %s}' % many(b"{}", 32), 422),
        ("/tag", lambda: b'{"audio": "AAAA", "tags": ["a"], "x": %s}' % many(b"[]", 32), 400),
        (
            "/tag",
            lambda: json.dumps({
                "audio": "AAAA", "tags": list("abc" * 99), "template": "{}" + "a" * 9_000_000}).encode(),
            400,
        ),
        (
            "/tag",
            lambda: json.dumps({
                "audio": "AAAA", "tags": [f"{n:0>8000}" for n in range(2000)], "template": "{}" * 4096}).encode(),
            400,
        ),
    ],
    ids=[
        "numbers", "percent signs", "spaces", "texts", "quotes", "labels", "objects", "a field that is none", "template",
        "many places",
    ],
)  # fmt: skip
def test_a_large_body_holds_nobody_up(service: Process, path: str, make: Callable[[], bytes], status: int) -> None:
    """Whatever is in it, it is answered soon, others are meanwhile, and it takes little more memory than itself."""
    body = make()
    before = service.rss_mb()
    with ThreadPoolExecutor(1) as pool, httpx.Client(timeout=30) as client:
        started = time.monotonic()
        reply = pool.submit(httpx.post, service.url(path), content=body, headers=JSON, timeout=30)
        waits, sizes = [0.0], [before]
        while not reply.done():
            asked = time.monotonic()
            assert client.get(service.url("/healthz")).text == "ok"
            waits.append(time.monotonic() - asked)
            sizes.append(service.rss_mb())
        assert reply.result().status_code == status, reply.result().text
        assert time.monotonic() - started < 5
    assert max(waits) < 1
    assert max(sizes) < before + 4 * len(body) / 1e6 + 50


def test_what_a_message_does_not_need_is_not_kept(service: Process) -> None:
    """32 MB of empty lists, which would be 700 MB as objects."""
    with connect(service.url("/clap", "ws")) as client:
        client.send("{}")
        client.recv()
        before = peak_mb(service)
        client.send('{"x": [' + "[]," * 10_000_000 + "[]]}")
        assert "Missing audio_buffer" in str(client.recv(timeout=30))
    assert peak_mb(service) < before + 250


def peak_mb(service: Process) -> float:
    """The most memory that it has had, 10^6 bytes."""
    assert service.popen is not None
    status = Path(f"/proc/{service.popen.pid}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


@pytest.mark.parametrize(
    ("first", "question"),
    [(b"", request("GET", "/openapi.json")), (upgrade("/project"), frame(LONG_NAME.encode()))],
    ids=["http", "websocket"],
)
def test_a_client_that_does_not_read_is_let_go(strict: Process, first: bytes, question: bytes) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", strict.port))
        client.sendall(first)
        if first:
            client.recv(2048)
        with pytest.raises(ConnectionError):  # rather than `TimeoutError`
            ask_for_ever(client, question)
    assert httpx.get(strict.url("/readyz")).status_code == 200


@pytest.mark.seconds
def test_a_stream_whose_client_does_not_read_is_closed_with_a_reason(bundle: Path, tmp_path: Path) -> None:
    """The service stops reading, so that its memory does not grow, and says why it closes behind what it had to say."""
    labels = json.dumps({"type": "labels", "labels": [str(n) * 8000 for n in range(9)]}).encode()
    with Process(tmp_path / "log", "--bundle", str(bundle), "--timeout-s", "2") as service, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", service.port))
        client.sendall(upgrade("/stream"))
        client.recv(2048)
        client.sendall(frame(b'{"labels": ["rain"], "sample_rate": 16000}') + frame(labels))
        while b'"type":"labels"' not in client.recv(2048):  # from here on their vectors are known
            pass
        before = peak_mb(service)
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            ask_for_ever(client, frame(labels))
        assert peak_mb(service) < before + 60
        time.sleep(2)  # a second after the service has given up, and a second before it hangs up
        client.settimeout(20)
        told = bytearray()
        with contextlib.suppress(ConnectionError):
            while part := client.recv(1 << 20):
                told += part
    reason = b"The client does not read its replies."
    assert told.endswith(b"\x88" + bytes([2 + len(reason)]) + (1008).to_bytes(2, "big") + reason)


def ask_for_ever(client: socket.socket, question: bytes) -> None:
    while True:
        client.sendall(question * 100)


@pytest.fixture(scope="module")
def full(served_bundle: Path, logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Four connections, two requests, and a token."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text("secret\n", encoding="utf-8")
    flags = ["--max-connections", "4", "--max-waiting", "2", "--token-file", str(token)]
    with Process(logs / "full.log", "--bundle", str(served_bundle), "--device", "cpu", *flags) as running:
        yield running


BEARER = {"authorization": "Bearer secret"}


def test_one_connection_too_many(full: Process) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(full.url("/clap", "ws"), additional_headers=BEARER)) for _ in range(4)]
        with pytest.raises(InvalidStatus, match="503"):
            connect(full.url("/clap", "ws"), additional_headers=BEARER)
        refused = httpx.get(full.url("/readyz"))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "as many connections" in refused.json()["error"]["message"]
        assert httpx.get(full.url("/healthz")).status_code == 200
        held[0].send("{}")  # whoever was let in stays
        assert json.loads(held[0].recv())["status"] == "ERROR"
    until = time.monotonic() + 5
    while httpx.get(full.url("/readyz")).status_code != 200:
        assert time.monotonic() < until


def test_of_many_more_connections_the_oldest_are_closed(full: Process) -> None:
    """So the last one can still ask whether the service is alive."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", full.port), timeout=5)) for _ in range(300)]
        assert httpx.get(full.url("/healthz")).status_code == 200
        assert httpx.get(full.url("/readyz")).status_code == 503
        assert clients[10].recv(12) == b"HTTP/1.1 503"
        clients[0].sendall(request("GET", "/healthz"))  # whoever was let in stays
        assert clients[0].recv(12) == b"HTTP/1.1 200"


def test_token(full: Process) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(full.url("/clap", "ws"))
    with pytest.raises(InvalidStatus, match="403"):
        connect(full.url("/clap", "ws"), additional_headers={"authorization": "Bearer other"})
    assert httpx.get(full.url("/metrics")).status_code == 401
    assert httpx.get(full.url("/metrics"), headers=BEARER).status_code == 200
    assert "warning" not in full.said()


def test_one_request_too_many(full: Process) -> None:
    long = json.dumps({"audio_buffer": base64.b64encode(samples(200_000)).decode(), "sample_rate": 1000})
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(full.url("/clap", "ws"), additional_headers=BEARER)) for _ in range(4)]
        for client in clients:
            client.send(long)
        replies = [json.loads(client.recv(timeout=60)) for client in clients]
        assert sorted(reply["status"] for reply in replies) == ["ERROR"] * 2 + ["received standalone audio"] * 2
        assert all("overloaded" in reply["message"] for reply in replies if reply["status"] == "ERROR")
        clients[0].send(samples(1000))
        assert json.loads(clients[0].recv())["type"] == "clap"


def test_a_connection_stays_as_long_as_its_messages_come(strict: Process) -> None:
    """Longer than one message may take, with pauses."""
    with connect(strict.url("/clap", "ws")) as client:
        for _ in range(4):
            time.sleep(TIMEOUT_S * 0.6)
            client.send(samples(400))
            assert json.loads(client.recv())["type"] == "clap"
    with pytest.raises(ConnectionClosed):
        client.send(b"")
