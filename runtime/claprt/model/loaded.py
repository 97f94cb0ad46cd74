"""What is loaded, can be closed, and is loaded again where it is copied to.

Sessions of a runtime and connections to a server cannot be pickled. So a model that is pickled, as for the workers of
joblib or `concurrent.futures`, or copied by `copy.deepcopy`, is loaded again there, from the same path and with the same
arguments, and its fingerprint must be the same. Its cache begins empty, but for what lies in a folder. A `copy.copy` shares
all that the model has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

from claprt.errors import ClosedError, OptionError


class Loaded(ABC):
    """The life of a loaded model."""

    batch_size: int
    """Windows that go through the audio tower together; may be changed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.closed = False
        """Whether `close` was called."""
        self.load_again: Callable[[Mapping[str, Any], str], Self] | None = None
        """Loads it with arguments of `claprt.load` and checks the fingerprint; None where it was made by hand."""
        self.loaded_from: Mapping[str, Any] = {}
        """The arguments that it was loaded with, with paths in full."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What made a vector, in one word."""

    @abstractmethod
    def _release(self) -> None:
        """Give back what the model holds."""

    def close(self) -> None:
        """Release the towers, or the connections to a server; using the model afterwards raises `ClosedError`.

        Calls that are running finish first. Closing again does nothing.
        """
        if not self.closed:
            self.closed = True
            self._release()

    def check_open(self) -> None:
        """Check that the model was not closed.

        Raises:
            ClosedError: If it was.
        """
        if self.closed:
            raise ClosedError(f"The model {self._name!r} was closed. Load it again: claprt.load(…).")

    def __enter__(self) -> Self:
        self.check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        self.check_open()
        if self.load_again is None:
            raise OptionError(
                "This model was not made by claprt.load, and nothing says how another process could make it. Load it there."
            )
        return self.load_again, ({**self.loaded_from, "batch_size": self.batch_size}, self.fingerprint)
