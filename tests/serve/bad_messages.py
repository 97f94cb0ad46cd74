"""Kinds of WebSocket messages, frames and clients that are wrong."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np

from tests.serve.case import MESSAGE_MB, Register, as_base64, junk, printable, samples
from tests.serve.raw_sockets import BINARY, CLOSE, PING, PONG, TEXT, frame

kind = Register()


def _message(*payloads: bytes, opcode: int = TEXT) -> dict[str, Any]:
    return {"upgraded": True, "parts": tuple(frame(payload, opcode) for payload in payloads)}


def _json(value: Any) -> dict[str, Any]:
    return _message(json.dumps(value).encode())


@kind()
def text_of_junk(draw: random.Random) -> dict[str, Any]:
    return _message(printable(draw).encode())


@kind()
def text_that_is_no_utf8(draw: random.Random) -> dict[str, Any]:
    return _message(b'{"audio_buffer": "' + draw.choice([b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf8\x88"]) + b'"}')


@kind()
def json_of_another_type(draw: random.Random) -> dict[str, Any]:
    return _json(draw.choice([None, True, 3, -1.5, [], [1, 2], "text", {}, {"audio": "AAAA"}, {"audio_buffer": None}]))


@kind()
def audio_buffer_of_another_type(draw: random.Random) -> dict[str, Any]:
    return _json({"audio_buffer": draw.choice([None, 3, 1e300, True, [], [0.1, 0.2], {"a": 1}]), "sample_rate": 16000})


@kind()
def json_cut_short(draw: random.Random) -> dict[str, Any]:
    text = json.dumps({"audio_buffer": as_base64(samples()), "sample_rate": 16000}).encode()
    return _message(text[: draw.randint(0, len(text) - 1)])


@kind()
def base64_that_is_none(draw: random.Random) -> dict[str, Any]:
    good = as_base64(samples(100))
    spot = draw.randint(1, len(good) - 3)
    bad = draw.choice([good[:spot] + "*" + good[spot + 1 :], good.rstrip("=")[:-1] + "é", "A" * 5, good + "=", "\ud800"])
    return _json({"audio_buffer": bad})


@kind()
def bytes_that_are_no_whole_number_of_samples(draw: random.Random) -> dict[str, Any]:
    data = samples(draw.randint(1, 200)) + draw.randbytes(draw.randint(1, 3))
    return _message(data, opcode=BINARY) if draw.random() < 0.5 else _json({"audio_buffer": as_base64(data)})


@kind()
def no_samples(draw: random.Random) -> dict[str, Any]:
    return _message(b"", opcode=BINARY) if draw.random() < 0.5 else _json({"audio_buffer": ""})


@kind()
def samples_that_are_not_finite(draw: random.Random) -> dict[str, Any]:
    found = np.frombuffer(samples(), "<f4").copy()
    found[draw.randrange(found.size)] = draw.choice([np.nan, np.inf, -np.inf])
    data = found.tobytes()
    return _message(data, opcode=BINARY) if draw.random() < 0.5 else _json({"audio_buffer": as_base64(data)})


@kind()
def rate_that_is_none(draw: random.Random) -> dict[str, Any]:
    rate = draw.choice([0, -1, 1, 10**12, 0.5, 1e308, "fast", "", True, [], {}, float("nan"), float("inf"), "1" * 5000])
    return _json({"audio_buffer": as_base64(samples()), "sample_rate": rate})


@kind()
def rate_of_the_address(draw: random.Random) -> dict[str, Any]:
    rate = draw.choice(["-1", "0", "1e3", "%00", "16000x", "9" * 40, "%ff", "१६०००"])
    return {**_message(samples(), opcode=BINARY), "path": f"/clap?sample_rate={rate}".encode().decode("latin-1")}


@kind()
def deeply_nested_json(draw: random.Random) -> dict[str, Any]:
    depth, (opening, closing) = draw.choice([500, 5000, 100_000]), draw.choice([("[", "]"), ('{"a":', "}")])
    whole = draw.random() < 0.5
    return _message((opening * depth + ("1" + closing * depth if whole else "")).encode())


@kind()
def numbers_that_are_too_long(draw: random.Random) -> dict[str, Any]:
    number = draw.choice(["1" * 100_000, "1e999999999", "-" + "9" * 5000, "0." + "3" * 100_000])
    return _message(b'{"audio_buffer": "%s", "sample_rate": %s}' % (as_base64(samples()).encode(), number.encode()))


@kind(4)
def json_of_many_values(draw: random.Random) -> dict[str, Any]:
    value = draw.choice([b"{}", b"[]", b"0", b'""', b"0.1"])
    return _message(b'{"x": [' + b",".join([value] * draw.choice([1000, 100_000])) + b"]}")


@kind(4)
def a_sound_of_too_many_windows(_: random.Random) -> dict[str, Any]:
    return {**_message(bytes(4 * 1000 * 200), opcode=BINARY), "path": "/clap?sample_rate=1000"}


@kind(4)
def an_odd_rate_for_long(draw: random.Random) -> dict[str, Any]:
    """As many windows too many, at a rate that is dear to resample."""
    rate = draw.choice([1001, 1013, 1999, 3989])
    return {**_message(samples(rate * draw.randint(21, 26)), opcode=BINARY), "path": f"/clap?sample_rate={rate}"}


@kind()
def files_that_are_none(draw: random.Random) -> dict[str, Any]:
    """Frames that begin as files do, and hold no whole one."""
    begin = draw.choice([
        b"RIFF\xff\0\0\0WAVEfmt ", b"fLaC\0\0\0\x22", b"OggS\0\2", b"FORM\0\0\1\0AIFF", b"caff\0\1\0\0",
        b"\0\0\0\x18ftypM4A ", b"\x1aE\xdf\xa3", b"riff.\x91\xcf\x11", b"PK\3\4", b"<html>", b"%PDF-1.7", b"\x1f\x8b\x08\0",
        b"\x89PNG\r\n\x1a\n",
    ])  # fmt: skip
    data = begin + draw.randbytes(draw.randint(0, 3000))
    return _message(data, opcode=BINARY) if draw.random() < 0.5 else _json({"audio_buffer": as_base64(data)})


@kind(2)
def pings_without_end(draw: random.Random) -> dict[str, Any]:
    """Tens of thousands, and then something that no frame is; some do not wait for a pong."""
    flood = frame(draw.randbytes(draw.choice([0, 1, 125])), draw.choice([PING, PONG])) * draw.choice([1000, 20_000])
    return {"upgraded": True, "parts": (flood, frame(b"", 3)), "leaves": draw.random() < 0.5}


@kind(4)
def a_message_that_is_too_large(draw: random.Random) -> dict[str, Any]:
    size = (MESSAGE_MB << 20) + 4
    if draw.random() < 0.5:
        return _message(bytes(size), opcode=BINARY)
    half = bytes(size // 2)
    return {"upgraded": True, "parts": (frame(half, BINARY, fin=False), frame(half, 0, fin=False), frame(half, 0))}


@kind()
def a_length_that_is_a_lie(draw: random.Random) -> dict[str, Any]:
    length = draw.choice([(MESSAGE_MB << 20) + 1, 1 << 31, 1 << 62, (1 << 64) - 1])
    return {"upgraded": True, "parts": (frame(b"abcd", BINARY, length=length),)}


@kind()
def frames_against_the_rules(draw: random.Random) -> dict[str, Any]:
    broken = [
        frame(b"{}", mask=False),
        frame(b"{}", draw.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])),
        frame(b"{}", reserved=draw.randint(1, 7)),
        frame(b"", 9, fin=False),
        frame(bytes(126), 9),
        frame(b"more", 0),
        frame(b"{", fin=False) + frame(b"}"),
        frame(b"{", fin=False) + frame(b"", CLOSE),
        frame(b"\3", CLOSE),
        frame(draw.choice([b"\0\0", b"\3\xed", b"\xff\xff", b"\3\xe8\xff"]), CLOSE),
    ]
    return {"upgraded": True, "parts": (draw.choice(broken),)}


@kind()
def bytes_that_are_no_frames(draw: random.Random) -> dict[str, Any]:
    return {"upgraded": True, "parts": (bytes([0xF0 | draw.randrange(16)]) + junk(draw),)}


@kind(3)
def endless_fragments(draw: random.Random) -> dict[str, Any]:
    piece = draw.choice([b"", b"{", b"[["])
    return {"upgraded": True, "parts": (frame(b"", fin=False), frame(piece, 0, fin=False) * 5000)}


@kind()
def a_client_that_leaves(draw: random.Random) -> dict[str, Any]:
    whole = frame(samples(4000), BINARY)
    cut = draw.choice([1, 2, 6, len(whole) // 2, len(whole) - 1, len(whole)])
    return {"upgraded": True, "parts": (whole[:cut],), "leaves": True}


@kind(2)
def a_message_that_never_ends(draw: random.Random) -> dict[str, Any]:
    whole = frame(samples(4000), BINARY)
    slow = tuple(whole[n : n + 1] for n in range(12)) if draw.random() < 0.5 else (whole[: draw.randint(20, 9000)],)
    parts = draw.choice([slow, (frame(b"{", fin=False), *(frame(b"", 0, fin=False) for _ in range(8)))])
    return {"upgraded": True, "parts": parts, "pause_s": 0.2}


@kind()
def a_stream_that_is_begun_wrongly(draw: random.Random) -> dict[str, Any]:
    good: dict[str, Any] = {"labels": ["rain"], "sample_rate": 16000}
    wrong = {
        "sample_rate": draw.choice([0, -1, 1e9, "16000 Hz", None, [], 15.5]),
        "labels": draw.choice([[], [""], ["a"] * 2, ["x" * 9000], [str(n) for n in range(101)], 3, [None]]),
        "format": draw.choice(["mp3", 16, None]),
        "channels": draw.choice([0, 17, 1.5, "two"]),
        "hop_s": draw.choice([0, 1e9, -1, "x"]),
        "off": draw.choice([0.9, 2, "x"]),
        "type": draw.choice(["stop", "flush", "labels", 3]),
        junk(draw, 8).hex(): 1,
    }
    name = draw.choice(list(wrong))
    return {**_json({**good, name: wrong[name]}), "path": "/stream"}


@kind()
def a_block_of_a_stream_that_was_not_begun(draw: random.Random) -> dict[str, Any]:
    return {**_message(junk(draw), opcode=BINARY), "path": "/stream"}
