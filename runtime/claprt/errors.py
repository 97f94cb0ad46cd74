"""Every error that `claprt` raises on purpose.

    ClaprtError
    ├── BundleError
    │   ├── BundleNotFoundError      (FileNotFoundError)  no bundle there, or a file of it is missing
    │   ├── BundleVersionError       (ValueError)         written by a release with another manifest schema
    │   └── BundleCorruptError       (ValueError)         altered, incomplete, or its parts disagree
    ├── AudioError                                        one sound; a batch can skip it
    │   ├── AudioNotFoundError       (FileNotFoundError)
    │   ├── AudioDecodeError         (ValueError)         not audio, corrupt, or truncated
    │   ├── AudioShapeError          (ValueError)         rank, channels or dtype of an array
    │   ├── AudioTypeError           (TypeError)          nothing that could be a sound
    │   ├── EmptyAudioError          (ValueError)         no samples
    │   ├── NonFiniteAudioError      (ValueError)         NaN or infinity
    │   └── SampleRateError          (ValueError)
    ├── TextError                    (ValueError)         empty, or not encodable
    │   └── TextTypeError            (TypeError)
    ├── ArrayError                   (ValueError)         an array handed to an engine has another shape or dtype
    ├── DatasetError                 (ValueError)         a labelled dataset that cannot be read, or does not fit
    ├── OptionError                  (ValueError)         an option has no such value, or does not fit the bundle
    ├── ProviderError                (RuntimeError)
    │   ├── ProviderUnavailableError                      asked for hardware or a package that is not there
    │   └── ServerError                                   a server refused a request, or is not one of ours
    │       └── ServerUnavailableError (ConnectionError)  it cannot be reached, or gave no answer in time
    ├── ClosedError                  (RuntimeError)       a model or an engine was used after close()
    ├── FingerprintError             (ValueError)         vectors would be others than those that were asked for
    ├── LibraryError                                      a library of sounds cannot be used
    │   ├── LibraryNotFoundError     (FileNotFoundError)  no library there
    │   ├── LibraryVersionError      (ValueError)         its format is another release's
    │   ├── LibraryCorruptError      (ValueError)         a file of it is damaged, or not what it should be
    │   └── LibraryWriteError        (OSError)            the disk is full, or refuses
    └── MissingDependencyError       (ImportError)        an optional package; the message says what installs it

Each message states what was requested, what was found and what to do. Catch `ClaprtError` for all of them, or the built-in
parent for one.
"""

from __future__ import annotations


class ClaprtError(Exception):
    """Parent of every error raised on purpose by this package."""


class BundleError(ClaprtError):
    """A bundle cannot be used."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """No bundle at the path, or one of its files is missing."""


class BundleVersionError(BundleError, ValueError):
    """The manifest follows a schema that this release does not read."""


class BundleCorruptError(BundleError, ValueError):
    """A file differs from its description in the manifest, or the manifest cannot be read."""


class AudioError(ClaprtError):
    """One sound cannot be embedded; the others of its batch can."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """No file at the path."""


class AudioDecodeError(AudioError, ValueError):
    """The bytes cannot be decoded completely as audio."""


class AudioShapeError(AudioError, ValueError):
    """An array has a rank, number of channels or dtype that a sound cannot have."""


class AudioTypeError(AudioError, TypeError):
    """A value is neither a path, bytes, a file, an array nor another kind of sound."""


class EmptyAudioError(AudioError, ValueError):
    """A sound has no samples."""


class NonFiniteAudioError(AudioError, ValueError):
    """A sound has NaN or infinite samples."""


class SampleRateError(AudioError, ValueError):
    """A sample rate is missing, not positive, or outside the supported range."""


class TextError(ClaprtError, ValueError):
    """A text cannot be embedded."""


class TextTypeError(TextError, TypeError):
    """A text is not a string."""


class ArrayError(ClaprtError, ValueError):
    """An array does not have the shape or dtype that the manifest states."""


class OptionError(ClaprtError, ValueError):
    """An option has an unknown value, or the bundle does not support it."""


class ProviderError(ClaprtError, RuntimeError):
    """An execution provider cannot do what was asked."""


class ProviderUnavailableError(ProviderError):
    """The execution provider is not available on this machine."""


class ServerError(ProviderError):
    """A server refused a request, or does not serve what this package can use."""


class ServerUnavailableError(ServerError, ConnectionError):
    """A server cannot be reached, or did not answer within its time limit."""


class ClosedError(ClaprtError, RuntimeError):
    """A model or an engine was used after it was closed."""


class FingerprintError(ClaprtError, ValueError):
    """A model does not have the fingerprint that was required."""


class LibraryError(ClaprtError):
    """A library of sounds cannot be used."""


class LibraryNotFoundError(LibraryError, FileNotFoundError):
    """No library at the path."""


class LibraryVersionError(LibraryError, ValueError):
    """The library has a format that this release does not read."""


class LibraryCorruptError(LibraryError, ValueError):
    """A file of the library is damaged, or not what the manifest says."""


class LibraryWriteError(LibraryError, OSError):
    """The library cannot be written, as on a disk that is full; what it held before is intact."""


class MissingDependencyError(ClaprtError, ImportError):
    """An optional package is not installed."""


class SkippedSourcesWarning(UserWarning):
    """Sources were skipped because of `on_error="skip"`."""


class SmallModelWarning(UserWarning):
    """No model was named, so the small model in the package is used."""


class FallbackWarning(UserWarning):
    """`provider="auto"` skipped a provider that is listed on this machine and cannot be loaded."""


class UnfinishedHeaderWarning(UserWarning):
    """A sound file's header was never finished and states no length; everything after it was read."""


class CacheWarning(UserWarning):
    """A cache folder is full, so vectors are kept in memory only."""


class LibraryWarning(UserWarning):
    """A part of a library is damaged and was left out."""


class AssumedRateWarning(UserWarning):
    """An array came without a sample rate, and the model's own was assumed."""


class AssumedLevelsWarning(UserWarning):
    """The full scale of an array was assumed, because its dtype does not determine it."""


class DatasetError(ClaprtError, ValueError):
    """A data set cannot be read, or lacks what a command needs."""
