"""Other libraries, as adapters import them: what is missing, too old or too new is one sentence.

Adapters need no extra of this package: whoever has an adapter's library has what it needs.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from claprt.errors import MissingDependencyError
from claprt.system.foreign_errors import describe_error

TESTED: Mapping[str, str] = MappingProxyType({
    "chromadb": "1.5.9",
    "daft": "0.7.26",
    "datasets": "5.2.0",
    "fastembed": "0.9.1",
    "haystack-ai": "3.4.1",
    "lancedb": "0.40.0",
    "langchain-core": "1.8.3",
    "llm": "0.36",
    "mteb": "2.26.0",
    "ray": "2.60.0",
    "scikit-learn": "1.9.1",
    "sentence-transformers": "6.2.0",
    "torch": "2.13.0",
    "txtai": "9.14.0",
})  # fmt: skip
"""The version of each library, by its name in the index, that its adapter was tested with; `constraints-integrations.txt`
installs these."""


def imported(module: str, *names: str, package: str) -> Any:
    """A module of another library.

    Args:
        module: Its dotted name.
        names: What an adapter uses of it.
        package: The library's name in the index, as in `TESTED`.

    Raises:
        MissingDependencyError: If the library is not installed, cannot be imported, or lacks one of the names.
    """
    top = module.partition(".")[0]
    try:
        if importlib.util.find_spec(top) is None:
            raise MissingDependencyError(f"{package} is needed and is not installed: pip install {package}", name=top)
    except ValueError as error:  # a module that somebody put there without a specification
        raise MissingDependencyError(f"{package} cannot be imported ({describe_error(error)}).", name=top) from error
    try:
        found = importlib.import_module(module)
    except Exception as error:  # an import runs the library's code, which may raise anything
        wrong = f"{package} {_version(package)} cannot be imported as {module} ({describe_error(error)})."
        raise MissingDependencyError(f"{wrong} {_advice(package)}", name=top) from error
    for name in names:
        if not hasattr(found, name):
            wrong = f"{package} {_version(package)} has no {name} in {module}, which is needed."
            raise MissingDependencyError(f"{wrong} {_advice(package)}", name=top)
    return found


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "(of unknown version)"


def _advice(package: str) -> str:
    return f"Tested with {package} {TESTED[package]}: pip install '{package}=={TESTED[package]}'"
