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
    └── MissingDependencyError       (ImportError)        an optional package; the message says what installs it

Each message says what was asked, what was found and what to do. Catch `ClaprtError` for all of them, or the built-in
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
    """A file differs from what the manifest says of it, or the manifest cannot be read."""


class AudioError(ClaprtError):
    """One sound cannot be embedded; the others of its batch can."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """No file at the path."""


class AudioDecodeError(AudioError, ValueError):
    """The bytes are no audio that can be decoded whole."""


class AudioShapeError(AudioError, ValueError):
    """An array's rank, channel count or dtype is not one of a sound."""


class AudioTypeError(AudioError, TypeError):
    """Something that is no path, bytes, file or array where a sound was expected."""


class EmptyAudioError(AudioError, ValueError):
    """A sound without a single sample."""


class NonFiniteAudioError(AudioError, ValueError):
    """A sound with NaN or infinite samples."""


class SampleRateError(AudioError, ValueError):
    """A sample rate that is missing, not positive, or outside the supported range."""


class TextError(ClaprtError, ValueError):
    """A text that cannot be embedded."""


class TextTypeError(TextError, TypeError):
    """Something that is not a string where a text was expected."""


class ArrayError(ClaprtError, ValueError):
    """An array handed to an engine does not have the shape or dtype that the manifest states."""


class OptionError(ClaprtError, ValueError):
    """An option has no such value, or the bundle cannot do what it asks for."""


class ProviderError(ClaprtError, RuntimeError):
    """An execution provider cannot do what was asked."""


class ProviderUnavailableError(ProviderError):
    """The execution provider that was asked for cannot be had on this machine."""


class ServerError(ProviderError):
    """A server refused a request, or does not serve what this package can use."""


class ServerUnavailableError(ServerError, ConnectionError):
    """A server cannot be reached, or gave no answer within the time that it was given."""


class ClosedError(ClaprtError, RuntimeError):
    """A model or an engine was used after it was closed."""


class FingerprintError(ClaprtError, ValueError):
    """A model's vectors would be others than those that were asked for."""


class MissingDependencyError(ClaprtError, ImportError):
    """An optional package is not installed."""


class SkippedSourcesWarning(UserWarning):
    """Some sources of a batch could not be embedded and were skipped, as `on_error="skip"` asked."""


class SmallModelWarning(UserWarning):
    """No bundle was named, so the small model that ships with the package is used."""


class FallbackWarning(UserWarning):
    """`provider="auto"` took another provider than the fastest that is listed here, because that one cannot be loaded."""


class UnfinishedHeaderWarning(UserWarning):
    """A sound file states no length because its writer never came back to it; all that follows the header was read."""


class CacheWarning(UserWarning):
    """There is no room in a cache folder, so vectors are kept in memory alone."""


class AssumedRateWarning(UserWarning):
    """Samples came without a rate, and the model's own was assumed."""


class AssumedLevelsWarning(UserWarning):
    """The full scale of samples was assumed: the dtype does not say it, or says another."""


class DatasetError(ClaprtError, ValueError):
    """A dataset cannot be read, or does not fit what was asked of it."""
