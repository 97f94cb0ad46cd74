"""The service on a port of this machine, and a browser."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

import claprt

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

import uvicorn

from claprt.serve.app import create_app
from tests.browser.chromium import Page, browser, find_chromium, tab

Serve = Callable[..., str]


@pytest.fixture(scope="session")
def mini() -> claprt.Clap:
    """The small model that ships with the package, which knows what it hears."""
    return claprt.load("mini")


@pytest.fixture(scope="module")
def serve(mini: claprt.Clap) -> Iterator[Serve]:
    """Serves the small model, or several, with options of `create_app`; gives the address."""
    with ExitStack() as stack:

        def start(models: Mapping[str, claprt.Clap] | None = None, **options: Any) -> str:
            app = create_app(models or mini, **options)
            server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="websockets-sansio"))
            thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
            thread.start()
            stack.callback(thread.join, 20)
            stack.callback(setattr, server, "should_exit", True)
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.02)
            return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

        yield start


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a browser."""
    program = find_chromium()
    if program is None:
        pytest.skip("needs a Chromium (apt-get install chromium-headless-shell)")
    with browser(program, tmp_path_factory.mktemp("chromium") / "profile") as address:
        yield address


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    """A tab that shares nothing with those of other tests."""
    with tab(chromium) as page:
        yield page
