"""Where a Triton server listens, as a URL in one word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from claprt.errors import OptionError

Protocol = Literal["grpc", "http"]
_SCHEMES: dict[str, tuple[Protocol, bool]] = {
    "triton": ("grpc", False),
    "triton+grpc": ("grpc", False),
    "triton+grpcs": ("grpc", True),
    "triton+http": ("http", False),
    "triton+https": ("http", True),
}
_PORTS = {"grpc": 8001, "http": 8000}
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server's address and how to speak to it."""

    host: str
    port: int
    protocol: Protocol = "grpc"
    tls: bool = False

    @property
    def netloc(self) -> str:
        """Host and port as tritonclient takes them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether it is this machine, by its name."""
        return self.host in _THIS_MACHINE

    def __str__(self) -> str:
        return f"triton+{self.protocol}{'s' if self.tls else ''}://{self.netloc}"


def is_address(text: object) -> bool:
    """Whether a bundle's name is a server's address instead.

    Example:
        >>> is_address("triton://localhost:8001"), is_address("bundles/triton")
        (True, False)
    """
    return isinstance(text, str) and text.partition("://")[0] in _SCHEMES and "://" in text


def refuse_address(named: object) -> None:
    """State what to do where a folder or file is needed and the address of a server was given, whole or as a `Path`.

    Raises:
        OptionError: If it is an address.
    """
    scheme, colon, rest = str(named).partition(":")
    if colon and scheme in _SCHEMES and rest.startswith("/"):
        address = f"{scheme}://{rest.lstrip('/')}"
        raise OptionError(
            f"{address} is the address of a server, and its bundle's files are not here. claprt.load({address!r}), with "
            "the address as a string, connects to it; for anything that reads files, name the folder of a bundle."
        )


def parse_address(url: str) -> Address:
    """The address that a URL names.

    Args:
        url: `triton://host` or `triton://host:port` for gRPC (port 8001), `triton+http://…` for HTTP (port 8000);
            `triton+grpcs://` and `triton+https://` with TLS.

    Raises:
        OptionError: If it is not such a URL.

    Example:
        >>> str(parse_address("triton://localhost"))
        'triton+grpc://localhost:8001'
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OptionError(f"{url!r} is not an address of a server: {error}.") from error
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise OptionError(f"{url!r} is not an address of a server; it should look like triton://host:8001.")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password:
        raise OptionError(f"{url!r} has more than a host and a port; credentials are given as headers.")
    protocol, tls = _SCHEMES[parts.scheme]
    return Address(host=parts.hostname, port=port or _PORTS[protocol], protocol=protocol, tls=tls)
