"""Published files from the Hugging Face hub, through its own client: its cache, its resuming, its progress bar."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlparse

from claprt.bundle.digests import sha256_of
from claprt.checkpoints.resolve import TOKENIZER_VARIABLE
from claprt_export.checkpoints.variants import Variant
from claprt_export.errors import CheckpointError, DownloadError, ExportError

ROBERTA_REPOSITORY = "FacebookAI/roberta-base"
ROBERTA_REVISION = "e2da8e2f811d1448a5b465c236feacd80ffbac7b"
CHECKPOINT_VARIABLE = "CLAP_CHECKPOINT_PATH"

_BESIDE_WEIGHTS = ("config.json", "preprocessor_config.json", "tokenizer.json")


def download_checkpoint(variant: Variant) -> Path:
    """The published file, or the folder, of a variant: from the hub's cache, else from the hub.

    Raises:
        DownloadError: it is in no cache and the hub cannot be reached.
        CheckpointError: the file is not the one that was published.
    """
    if variant.repository is None or variant.weights is None:
        raise DownloadError(f"{variant.name} is not published anywhere; it is made here.")
    what = f"the checkpoint {variant.name} ({variant.weights} of huggingface.co/{variant.repository})"
    file = _fetch(variant.repository, variant.weights, variant.revision, what)
    check_published(file, variant)
    if variant.layout == "laion":
        return file
    for name in _BESIDE_WEIGHTS:
        _fetch(variant.repository, name, variant.revision, what)
    return file.parent


def is_published(path: Path, variant: Variant) -> bool:
    """Whether a file, or the weights of a folder, are known to be the published ones of a variant.

    Raises:
        CheckpointError: they are known not to be.
    """
    file = path / variant.weights if path.is_dir() and variant.weights else path
    if variant.sha256 is None or not file.is_file():
        return False
    check_published(file, variant)
    return True


def check_published(file: Path, variant: Variant) -> None:
    """Compare a file with the sha256 that is known of the variant, if one is.

    Raises:
        CheckpointError: they differ.
    """
    if variant.sha256 is not None and (digest := sha256_of(file)) != variant.sha256:
        raise CheckpointError(
            f"{file} is not the published {variant.name}: its sha256 begins {digest[:12]}, the published one's "
            f"{variant.sha256[:12]}. Fetch it again, or export it under its own name with --checkpoint alone."
        )


def download_tokenizer() -> Path:
    """RoBERTa-base's `tokenizer.json`, from the hub's cache, else from the hub.

    Raises:
        DownloadError: it is in no cache and the hub cannot be reached.
    """
    cached = _cached_tokenizer()
    if cached is not None:
        return cached
    what = f"the tokenizer of {ROBERTA_REPOSITORY}"
    return _fetch(ROBERTA_REPOSITORY, "tokenizer.json", ROBERTA_REVISION, what)


def _cached_tokenizer() -> Path | None:
    """RoBERTa-base's tokenizer as another program fetched it: `tokenizer.json`, or the folder of vocabulary and merges."""
    from huggingface_hub import try_to_load_from_cache

    for repository in (ROBERTA_REPOSITORY, ROBERTA_REPOSITORY.partition("/")[2]):
        for revision in (ROBERTA_REVISION, "main"):
            found = [
                try_to_load_from_cache(repository, name, revision=revision)
                for name in ("tokenizer.json", "vocab.json", "merges.txt")
            ]
            if isinstance(found[0], str):
                return Path(found[0])
            if isinstance(found[1], str) and isinstance(found[2], str):
                return Path(found[1]).parent
    return None


def _fetch(repository: str, file: str, revision: str | None, what: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    if not _reachable(huggingface_hub.constants.ENDPOINT):
        raise _no_way(what)
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
    except Exception as error:  # the client's errors come from several libraries
        raise DownloadError(f"This needs {what}, and fetching it failed: {error}") from error


def _reachable(endpoint: str) -> bool:
    """Whether trying is worth the client's half minute of retries. A proxy is always worth trying."""
    if _offline():
        return False
    if any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ):
        return True
    address = urlparse(endpoint)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=5):
            return True
    except OSError:
        return False


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")


def _no_way(what: str) -> ExportError:
    why = "HF_HUB_OFFLINE says not to ask the hub" if _offline() else "the hub could not be reached"
    if "tokenizer" in what:
        return DownloadError(
            f"This needs {what}, which is not in the Hugging Face cache, and {why}; name a tokenizer.json, or a folder "
            f"with one, with --tokenizer PATH or in {TOKENIZER_VARIABLE}."
        )
    return DownloadError(
        f"This needs {what}, which is not in the Hugging Face cache, and {why}; give a copy of it with --checkpoint PATH, "
        f"or name one in {CHECKPOINT_VARIABLE}, or export weights that need no download with the variant untrained-tiny."
    )
