"""The models of a service by their names: which one a request is for, and their life cycle together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping

from claprt.bundle.graphs import Stage
from claprt.errors import ClaprtError, OptionError
from claprt.model.clap import Clap
from claprt.serve import access
from claprt.serve.errors import NotFoundError
from claprt.serve.limits import Limits
from claprt.serve.scheduling.service import Service
from claprt.serve.scheduling.shared import Shared, State

PREFIX = "/models"
"""Where the paths of a model with a name begin: `/models/NAME`."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Models:
    """Services, one for each model, the default one first.

    At the root of the application these are all of them, under the prefix of a model that one alone.
    """

    def __init__(self, services: Mapping[str, Service], prefix: str = "") -> None:
        """Serve models under a prefix; those without labels have no names for clients, who do not choose."""
        self.services, self.prefix = dict(services), prefix
        self.default = next(iter(self.services.values()))
        self.shared = self.default.shared
        self.are_named = bool(self.default.label)

    @classmethod
    def of(cls, clap: Clap | Mapping[str, Clap], limits: Limits, towers: Collection[Stage]) -> Models:
        """Start the services of one model, or of several by their names.

        Args:
            clap: The model; or models by their names, the default one first.
            limits: Of all of them together.
            towers: Those that are loaded and served, of each.

        Raises:
            OptionError: If there is none, a name is not possible, or a model has two names.
        """
        if not isinstance(clap, Mapping):
            return cls({clap.manifest.name: Service(clap, Shared(limits), towers)})
        check_names(clap)
        names = dict[int, str]()
        for name, one in clap.items():
            if (before := names.setdefault(id(one), name)) != name:
                raise OptionError(f"{before} and {name} are the same model; give it one name.")
        shared = Shared(limits, by_model=True)
        return cls({name: Service(one, shared, towers, name) for name, one in clap.items()})

    def only(self, name: str) -> Models:
        """The model of a name alone, under its prefix."""
        return Models({name: self.services[name]}, f"{PREFIX}/{name}")

    def choose(self, stated: str | None) -> Service:
        """The service of the model that a request names; the default one if it names none, or models have no names.

        Raises:
            NotFoundError: If there is no model of this name.
        """
        service = self.services.get(stated) if stated and self.are_named else self.default
        if service is None:
            access.note_model(self.default.label if self.prefix else "")
            raise self.unknown(stated or "")
        access.note_model(service.label)
        return service

    def unknown(self, stated: str) -> NotFoundError:
        """The error for a name that no model has."""
        names = ", ".join(map(repr, self.services))
        verb = "are" if len(self.services) > 1 else "is"
        return NotFoundError(f"There is no model {stated[:100]!r} {_at(self.prefix)}; there {verb} {names}.")

    def split(self, path: str) -> tuple[str, str]:
        """Split a path into the name of the model whose prefix it has, or an empty string, and what comes after that."""
        if self.are_named and path.startswith(f"{PREFIX}/"):
            name, slash, rest = path.removeprefix(f"{PREFIX}/").partition("/")
            if slash and name in self.services:
                return name, f"/{rest}"
        return "", path

    def prepare(self) -> None:
        """Load what the first requests would otherwise wait for.

        Raises:
            ClaprtError: If the engine of a model fails.
        """
        for service in self.services.values():
            if not service.batcher.prepared:
                try:
                    service.batcher.prepare()
                except ClaprtError as error:
                    if not service.label:
                        raise
                    raise type(error)(f"{service.label}: {error}") from error

    async def start(self) -> None:
        """Prepare all models; the service is ready from here on."""
        await asyncio.to_thread(self.prepare)
        self.shared.state = State.READY

    async def ready(self) -> dict[str, str | None]:
        """Why each model is not ready, by its name; None for those that are."""
        reasons = await asyncio.gather(*(service.ready() for service in self.services.values()))
        return dict(zip(self.services, reasons, strict=True))

    async def end(self) -> None:
        """End the threads, after `Shared.drain`."""
        if self.shared.state is not State.ENDED:
            self.shared.state = State.ENDED
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for service in self.services.values():
            service.batcher.close()


def _at(prefix: str) -> str:
    return f"at {prefix}" if prefix else "here"


def check_names(names: Collection[str]) -> None:
    """Check the names of models.

    Raises:
        OptionError: If there are none, or one cannot be a part of an address.
    """
    if not names:
        raise OptionError("There is no model to serve; name one.")
    for name in names:
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise OptionError(
                f"A model cannot be served as {repr(name)[:80]}. Names have up to 64 letters a to z, digits, dots, hyphens "
                "and underscores, and begin with a letter or a digit."
            )
