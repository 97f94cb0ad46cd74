"""Kinds of HTTP requests and WebSocket handshakes that are wrong."""

from __future__ import annotations

import json
import random
import string
from typing import Any

from tests.serve.case import MESSAGE_MB, Register, as_base64, junk, printable
from tests.serve.raw_sockets import GOOD_UPGRADE, frame, request, upgrade

POSTS = ("/v1/embeddings", "/classify", "/tag", "/analyse", "/project", "/clap-bd", "/search", "/rank")
kind = Register()


@kind()
def another_path(draw: random.Random) -> dict[str, Any]:
    target = "/" + "".join(draw.choices(string.ascii_lowercase + "/.%;", k=draw.randint(1, 30)))
    if draw.random() < 0.5:  # which speaks kromosynth's protocol, as every path does
        return {"upgraded": True, "path": f"/x{target}", "parts": (frame(printable(draw).encode()),)}
    return {"parts": (request(draw.choice(["GET", "POST", "PUT", "BREW"]), f"/x{target}"),)}


@kind()
def another_model(draw: random.Random) -> dict[str, Any]:
    name = "".join(draw.choices(string.ascii_letters + "._-%", k=draw.randint(1, 80)))
    path = draw.choice([f"/models/{name}/v1/embeddings", f"/models/{name}/", f"/v2/models/{name}.clap_text/infer"])
    return {"parts": (request("POST", path, {"Content-Type": "application/json"}, b'{"input": "rain"}'),)}


@kind()
def another_method(draw: random.Random) -> dict[str, Any]:
    return {"parts": (request(draw.choice(["GET", "PUT", "DELETE", "PATCH", "TRACE", "G"]), draw.choice(POSTS)),)}


@kind()
def handshake_against_the_rules(draw: random.Random) -> dict[str, Any]:
    wrong = draw.choice([
        {"Sec-WebSocket-Version": "12"}, {"Sec-WebSocket-Key": "short"}, {"Sec-WebSocket-Key": "*" * 24},
        {"Sec-WebSocket-Version": printable(draw).translate({10: None, 11: None, 12: None, 13: None})},
        {"Cookie": "c" * 9000}, {f"X-{number}": "y" for number in range(140)},
    ])  # fmt: skip
    headers = {**GOOD_UPGRADE, **wrong}
    if len(wrong) == 1 and draw.random() < 0.3:
        headers.pop(draw.choice(["Sec-WebSocket-Key", "Sec-WebSocket-Version"]))
    return {"parts": (request(draw.choice(["GET", "GET", "POST"]), "/clap", headers),)}


@kind()
def bytes_that_are_no_http(draw: random.Random) -> dict[str, Any]:
    hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"  # of TLS
    sent = draw.choice([
        junk(draw) + b"\r\n\r\n", hello + draw.randbytes(80) + b"\r\n\r\n", b"GET /\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n", b"GET /x HTTP/9.9\r\n\r\n",
    ])  # fmt: skip
    return {"parts": (sent,)}


@kind()
def headers_against_the_rules(draw: random.Random) -> dict[str, Any]:
    line = draw.choice([
        b"no colon here", b": no name", b"Na me: x", b"X: a\0b", b" folded: x", b"X\xff: y", b"Host: other", b"X: \x01",
        b"Connection: upgrade\r\nUpgrade: h2c", b"Expect: nothing", b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ])  # fmt: skip
    return {"parts": (b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n\r\n",)}


@kind(4)
def headers_that_are_huge(draw: random.Random) -> dict[str, Any]:
    huge = draw.choice([
        b"X-Long: " + b"y" * 300_000, b"\r\n".join(b"X-%d: y" % number for number in range(20_000)),
        b"X" * 100_000 + b": y", b"Cookie: " + b"a=b; " * 20_000,
    ])  # fmt: skip
    target = "/" + "p" * draw.choice([1, 100_000])
    return {"parts": (b"GET " + target.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + huge + b"\r\n\r\n",)}


@kind()
def content_length_against_the_rules(draw: random.Random) -> dict[str, Any]:
    stated = draw.choice(["-1", "ten", "1" * 30, "9" * 19, "0x10", "+5", "1, 2", "", "1 1", str((MESSAGE_MB << 20) + 1)])
    head = f"POST {draw.choice(POSTS)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {stated}\r\n"
    return {"parts": (f"{head}Content-Type: application/json\r\n\r\n".encode() + b"{}",)}


@kind()
def chunks(draw: random.Random) -> dict[str, Any]:
    chunks = draw.choice([b"2\r\n{}\r\n0\r\n\r\n", b"zz\r\n{}\r\n", b"-1\r\n", b"f" * 40 + b"\r\n", b"2\r\n{}xx0\r\n\r\n"])
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    if draw.random() < 0.5:
        headers["Content-Length"] = "2"
    return {"parts": (request("POST", draw.choice(POSTS), headers, chunks),)}


@kind()
def forms_that_are_none(draw: random.Random) -> dict[str, Any]:
    media = draw.choice([
        "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x", "multipart/mixed",
        "multipart/form-data; boundary=" + "y" * 300, "application/x-www-form-urlencoded", "image/png", "\xff",
    ])  # fmt: skip
    body = draw.choice([
        b"--x\r\n\r\nrest", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--", junk(draw), b"--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF',
        b'--x\r\nContent-Disposition: form-data; name="labels"\r\n\r\n[1,\r\n--x--\r\n' + b"--x\r\n" * 3000,
    ])  # fmt: skip
    return {"parts": (request("POST", draw.choice(["/classify", "/tag", "/analyse"]), {"Content-Type": media}, body),)}


@kind()
def bodies_that_are_not_understood(draw: random.Random) -> dict[str, Any]:
    body = draw.choice([
        b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 50_000, junk(draw), printable(draw).encode(),
        json.dumps({"input": draw.choice([None, 3, [], [[]], {}, "", [""], ["a"] * 5000])}).encode(),
        json.dumps({"audio": draw.choice(["", "AAAA", "*", None, [], as_base64(junk(draw))]), "labels": ["a"]}).encode(),
        json.dumps({"input": draw.choice(["AAAA", "/etc/passwd", "https://a.example/a"]), "modality": "audio"}).encode(),
        json.dumps({"audio": as_base64(b"RIFF" + junk(draw)), "labels": draw.choice([[], [""], [3], "a", None])}).encode(),
        json.dumps({"embedding": draw.choice([None, [], [1.0], ["x"] * 512, [1e400] * 512, "x"])}).encode(),
    ])  # fmt: skip
    return {"parts": (request("POST", draw.choice(POSTS), {"Content-Type": "application/json", "X-Length": "1"}, body),)}


@kind(4)
def bodies_of_many_values(draw: random.Random) -> dict[str, Any]:
    """Nearly as many as fit into a message."""
    value = draw.choice([b"0", b"{}", b"[]", b'""', b"null", None])
    values = (b'"%x"' % number if value is None else value for number in range((MESSAGE_MB << 20) // 10))
    path, body = draw.choice([
        ("/v1/embeddings", b'{"input": [%s]}'), ("/classify", b'{"audio": "AAAA", "labels": [%s]}'),
        ("/tag", b'{"audio": "AAAA", "tags": [%s]}'),
    ])  # fmt: skip
    return {"parts": (request("POST", path, {"Content-Type": "application/json"}, body % b",".join(values)),)}


@kind(4)
def templates_that_grow(draw: random.Random) -> dict[str, Any]:
    labels = [f"{number:x}" for number in range(draw.choice([1, 300, 2048]))]
    template = draw.choice(["{}" + "a" * 800_000, "{}" * 400_000, "{}" * 8000, "{" * 8000])
    body = json.dumps({"audio": "AAAA", "labels": labels, "tags": labels, "template": template}).encode()
    return {"parts": (request("POST", draw.choice(["/classify", "/tag"]), {"Content-Type": "application/json"}, body),)}


@kind()
def requests_in_a_row(draw: random.Random) -> dict[str, Any]:
    several = [
        request("POST", "/classify", {"Content-Type": "application/json"}, b"{}"),
        b"junk\r\n\r\n",
        request("BREW", "/tea"),
    ]
    return {"parts": (b"".join(draw.choices(several, k=draw.randint(2, 12))),)}


@kind()
def a_client_that_leaves_http(draw: random.Random) -> dict[str, Any]:
    whole = request("POST", draw.choice(POSTS), {"Content-Type": "application/json"}, b'{"input": "a dog"}')
    return {"parts": (whole[: draw.randint(1, len(whole) - 1)],), "leaves": True}


@kind(2)
def headers_that_never_end(draw: random.Random) -> dict[str, Any]:
    whole = upgrade() if draw.random() < 0.5 else request("GET", "/readyz")
    parts = (
        tuple(whole[n : n + 1] for n in range(12)) if draw.random() < 0.5 else (whole[: draw.randint(0, len(whole) - 1)],)
    )
    return {"parts": parts, "pause_s": 0.15}


@kind(2)
def a_body_that_never_ends(draw: random.Random) -> dict[str, Any]:
    head = request("POST", draw.choice(POSTS), {"Content-Type": "application/json", "Content-Length": "1000"})
    return {"parts": (head, *(b'{"input": "'[n : n + 1] for n in range(11))), "pause_s": 0.15}


@kind()
def pages_of_other_origins(draw: random.Random) -> dict[str, Any]:
    origin = draw.choice(["https://a.example", "null", "http://localhost:1", "http://127.0.0.1.a.example", "x", "\x80"])
    if draw.random() < 0.5:
        return {"parts": (request("GET", "/clap", {**GOOD_UPGRADE, "Origin": origin}),)}
    body = b'{"input": "a dog"}'
    media = draw.choice([{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json"}])
    return {"parts": (request("POST", "/v1/embeddings", {"Origin": origin, **media}, body),)}


@kind()
def data_uris_of_no_sound(draw: random.Random) -> dict[str, Any]:
    size = draw.choice([1, 100, 300_000])
    uri = draw.choice([
        "data:," + "%zz" * size, "data:," + "%41" * size, "data:audio/wav;base64," + "%41" * size, "data:;base64,", "data:",
        "data:audio/wav;base64," + "AA " * size, "data:" + ";x=y" * size + ",AAAA", "data:text/html;base64,PGh0bWw+",
        "data" + ":" * size,
    ])  # fmt: skip
    path, body = draw.choice([
        ("/v1/embeddings", {"input": uri, "modality": "audio"}), ("/classify", {"audio": uri, "labels": ["a", "b"]}),
        ("/v1/embeddings", {"input": [uri] * 2, "modality": "audio"}), ("/tag", {"audio": uri, "tags": ["a"]}),
    ])  # fmt: skip
    return {"parts": (request("POST", path, {"Content-Type": "application/json"}, json.dumps(body).encode()),)}


@kind()
def labels_that_are_none(draw: random.Random) -> dict[str, Any]:
    labels = draw.choice([
        "", " , ,", ",", [], [""], [" "], ["a", "a"], ["a"] * 3000, "a," * 3000, [["a"]], {"a": 1}, 3, True, ["a", None],
        ["w" * 9000], ["\ud800"], ["a", 3],
    ])  # fmt: skip
    name, path = draw.choice([("labels", "/classify"), ("tags", "/tag")])
    body = json.dumps({"audio": as_base64(b"RIFF"), name: labels}).encode()
    return {"parts": (request("POST", path, {"Content-Type": "application/json"}, body),)}


@kind()
def texts_that_are_none(draw: random.Random) -> dict[str, Any]:
    texts = draw.choice([
        "", " ", "\n\t", "\ud800", ["a", ""], ["a", None], ["a", ["b"]], "w" * 8193, ["w"] * 2049, [0] * 80, [[0, -1, 2]],
        [[0, 1 << 63, 2]], [[0, 5, 2], "a"], [1.5], [[]], [True], {"text": "a"},
    ])  # fmt: skip
    body = json.dumps({"input": texts}).encode()
    return {"parts": (request("POST", "/v1/embeddings", {"Content-Type": "application/json"}, body),)}


@kind(2)
def requests_sent_ahead(draw: random.Random) -> dict[str, Any]:
    """Thousands on one connection, of which some wait for no answer."""
    one = request("POST", draw.choice(POSTS), {"Content-Type": "application/json"}, draw.choice([b"{}", b"[]", b"[" * 500]))
    count = draw.choice([100, 1000, 20_000])
    return {"parts": (one * count,), "leaves": count > 1000 or draw.random() < 0.5}


@kind()
def searches_that_are_none(draw: random.Random) -> dict[str, Any]:
    """Of a library, where the service has one."""
    where = draw.choice([
        "1; DROP TABLE library", "size > (SELECT 1)", "nothing = 3", "(" * 5000, "path LIKE", "'", "--", "/*", "\0",
        "read_text('/etc/passwd') = ''", "true) UNION SELECT * FROM read_csv('/etc/passwd') WHERE (true", "w" * 8193,
        "getenv('HOME') = ''", "id IN (FROM library)", "\ud800",
    ])  # fmt: skip
    ids = draw.choice([["\0"], [""], ["../x"], ["a"] * 65, "{", [3], "none"])
    fields = draw.choice([
        {"text": "rain", "where": where}, {"where": where}, {}, {"text": []}, {"text": "rain", "minus_ids": ids},
        {"text": "rain", "k": draw.choice([0, -1, 1 << 70, 1001])}, {"text": draw.choice(["w" * 8193, "\ud800", {"a": 1}])},
        {"minus": "rain"}, {"audio": ["AAAA"] * 65}, {"audio": "/etc/passwd"}, {"text": ["rain"] * 3000},
        {"text": "rain", "windows": "perhaps"}, {"text": "rain", "names": draw.choice([3, -1, "x"])}, {"ids": ids},
    ])  # fmt: skip
    return {"parts": (request("POST", "/search", {"Content-Type": "application/json"}, json.dumps(fields).encode()),)}


@kind()
def sounds_that_are_none(draw: random.Random) -> dict[str, Any]:
    """Of a library, where the service has one."""
    names = ("none", "..%2f..%2fetc%2fpasswd", "%00", "%ff", "%2e%2e", "", "a" * 5000, "..", "%c3%28", "a/b", ";", "%")
    path = f"/library/sounds/{draw.choice(names)}" + draw.choice(["", "/audio", "/peaks", "/peaks?n=0", "/peaks?n=x", "/x"])
    stated = draw.choice(["bytes=0-", "bytes=-", "bytes=9-1", "x", "bytes=" + "0-1," * 999, "bytes=" + "9" * 4000])
    return {"parts": (request(draw.choice(["GET", "GET", "POST"]), path, {"Range": stated}),)}


@kind()
def rankings_that_are_none(draw: random.Random) -> dict[str, Any]:
    texts = draw.choice([None, [], "", [""], ["a"] * 3000, ["w" * 9000], ["\ud800"], {"a": 1}, [3], "rain"])
    sounds = draw.choice([None, [], "", [""], "AAAA", ["AAAA"] * 65, ["*"], "https://a.example/a", [as_base64(junk(draw))]])
    body = json.dumps({"texts": texts, "sounds": sounds}).encode()
    return {"parts": (request("POST", "/rank", {"Content-Type": "application/json"}, body),)}


@kind()
def texts_for_freesound_that_are_none(draw: random.Random) -> dict[str, Any]:
    query = draw.choice(["", "input=", "input=%20", "input=" + "w" * 9000, "model=x&input=a", "input=a&model=%ff"])
    return {"parts": (request("GET", f"/encode_text/?{query}"),)}


@kind()
def vectors_in_a_form_that_is_none(draw: random.Random) -> dict[str, Any]:
    form = draw.choice(["int4", "", 3, ["float"], "FLOAT", "binary", "ubinary"])
    body = json.dumps({"input": "a dog", "encoding_format": form, "dimensions": draw.choice([3, 12, 1 << 70])}).encode()
    return {"parts": (request("POST", "/v1/embeddings", {"Content-Type": "application/json"}, body),)}


@kind()
def tensors_that_are_none(draw: random.Random) -> dict[str, Any]:
    """Of KServe's protocol, in JSON and in binary."""
    model = draw.choice(["clap_text", "clap_text/versions/9", "clap_audio_file", "clap_classify", "x", "%ff"])
    parameters = draw.choice(
        [{}, {"binary_data_size": draw.choice([-1, 1, 9, 1 << 70, "x", None])}, {"shared_memory_region": "x"}]
    )
    given = {
        "name": draw.choice(["text", "audio", "labels", "sample_rate", ""]),
        "datatype": draw.choice(["BYTES", "INT32", "FP32", ""]),
        "shape": draw.choice([[], [1], [-1], [1 << 40], [0], [2, 2], "x", [1] * 9]),
        "data": draw.choice([["AAAA"], [], [1], [[1]], ["a"] * 3000, [0] * 3000, None, "a", {"a": 1}, [1 << 70]]),
        "parameters": parameters,
    }
    head = json.dumps({"inputs": draw.choice([[given], [given, given], [], None, given]), "outputs": []}).encode()
    stated = draw.choice([{}, {"Inference-Header-Content-Length": str(draw.choice([len(head), 0, 1 << 60, -1, "x"]))}])
    body = head + draw.choice([b"", b"\1\0\0\0a", b"\xff" * 9, junk(draw)])
    return {"parts": (request("POST", f"/v2/models/{model}/infer", {"Content-Type": "application/json", **stated}, body),)}
