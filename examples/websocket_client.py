"""Sends a sound to the service as bytes, as JSON, and many times on one connection; prints dimensions and times.

python examples/websocket_client.py dog.wav [--url ws://localhost:32051/clap]

It needs websockets, soundfile and numpy alone, not claprt. A token is read from the environment: CLAPRT_TOKEN.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import time
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection, connect

MANY = 20


def ask(connection: ClientConnection, message: bytes | str) -> NDArray[np.float32]:
    """The vector of a sound; a refusal is an error with the service's sentence."""
    connection.send(message)
    reply = json.loads(connection.recv())
    if reply["status"] == "ERROR":
        raise ValueError(reply["message"])
    return np.asarray(reply["embedding"], np.float32)


def main() -> None:
    """Asks and prints."""
    parser = argparse.ArgumentParser(description="Send a sound to the service.")
    parser.add_argument("sound", type=Path)
    parser.add_argument("--url", default="ws://localhost:32051/clap")
    options = parser.parse_args()
    waveform, rate = soundfile.read(options.sound, dtype="float32", always_2d=True)
    samples = waveform.mean(axis=1).astype("<f4").tobytes()
    text = json.dumps({"audio_buffer": base64.b64encode(samples).decode(), "sample_rate": rate})
    token = os.environ.get("CLAPRT_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with connect(f"{options.url}?sample_rate={rate}", additional_headers=headers) as connection:
        rows: list[NDArray[np.float32]] = []
        for name, message in (("binary", samples), ("JSON", text)):
            started = time.perf_counter()
            rows.append(ask(connection, message))
            print(f"{name}: {rows[-1].size} numbers in {1000 * (time.perf_counter() - started):.1f} ms")
        started = time.perf_counter()
        rows += [ask(connection, samples) for _ in range(MANY)]
        print(f"{MANY} messages, one after the other: {1000 * (time.perf_counter() - started) / MANY:.1f} ms each")
    print(f"largest difference: {np.abs(np.stack(rows) - rows[0]).max()}")
    print(f"first numbers: {rows[0][:4].tolist()}")


if __name__ == "__main__":
    main()
