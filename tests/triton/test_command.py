"""`claprt inspect` of a server's address."""

from __future__ import annotations

import json

import pytest

import claprt
from claprt.cli import main
from tests.triton.server import Server


def test_inspect(server: Server, clap: claprt.Clap, capsys: pytest.CaptureFixture[str]) -> None:
    for address in (server.grpc, server.http):
        assert main(["inspect", address]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("name          tiny")
        assert shown.endswith(f"served at {address}\n")
    assert main(["inspect", server.grpc, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == clap.manifest.name
