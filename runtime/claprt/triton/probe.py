"""Whether a Triton server still answers rightly: a liveness probe that goes through every model.

`python -m claprt.triton.probe triton://localhost:8001`

Triton's own readiness does not notice a python step that has died. This asks for the vectors of a sound and a text that
nobody asked for before, so that no cache can answer, and checks what comes back.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np

from claprt.bundle.address import parse_address
from claprt.engines.triton.engine import TritonEngine
from claprt.engines.triton.errors import LostError
from claprt.engines.triton.transport import connect
from claprt.errors import ClaprtError, ServerError

_LIMIT = 0.98
"""Smallest cosine between two ways to one vector; on a GPU log-mels and towers differ in their last digits."""


def probe(url: str, timeout_s: float = 4.0) -> float:
    """Ask every model once, and return the seconds that it took.

    Raises:
        ServerError: a model did not answer, or not with what another says.
    """
    started = time.monotonic()
    with TritonEngine(url, timeout_s=timeout_s, retry_for_s=0, shared_memory=False) as engine:
        seed = np.random.default_rng()
        facts = engine.served.manifest.audio
        waveforms = seed.uniform(-0.5, 0.5, (1, facts.window_samples)).astype(np.float32)
        raw = np.array([waveforms.tobytes()], np.object_)
        label = np.array([f"probe {seed.integers(2**62)}".encode()], np.object_)
        rate = np.array([facts.mel.sample_rate], np.int32)
        transport = connect(engine.address, engine.security, timeout_s)
        try:
            direct = transport.infer("clap_audio", "", {"waveforms": waveforms}, {"audio_embeddings": None})[
                "audio_embeddings"
            ]
            file = {"audio": raw, "sample_rate": rate}
            whole = transport.infer("clap_audio_file", "", file, {"audio_embeddings": None})["audio_embeddings"]
            text = transport.infer("clap_text", "", {"text": label}, {"text_embeddings": None})["text_embeddings"]
            answer = transport.infer("clap_classify", "", file | {"labels": label}, {"similarities": None})["similarities"]
        except LostError as error:
            if "queue size" in str(error):  # too busy to answer is alive
                return time.monotonic() - started
            raise ServerError(f"{engine.address} does not answer: {error}") from error
        finally:
            transport.close()
    if not (float((direct @ whole.T).min()) > _LIMIT and np.abs(whole @ text.T - answer).max() < 1 - _LIMIT):
        raise ServerError(f"The models of {parse_address(url)} do not agree with each other; see the server's log.")
    return time.monotonic() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m claprt.triton.probe URL`: the exit status is 0 if every model answers rightly."""
    parser = argparse.ArgumentParser(prog="python -m claprt.triton.probe", description=main.__doc__)
    parser.add_argument("url", nargs="?", default="triton://localhost:8001")
    parser.add_argument("--timeout", type=float, default=4.0, metavar="SECONDS", help="for each request (4)")
    options = parser.parse_args(arguments)
    try:
        print(f"every model answered, after {probe(options.url, options.timeout):.2f} s")
    except ClaprtError as error:
        print(f"claprt: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
