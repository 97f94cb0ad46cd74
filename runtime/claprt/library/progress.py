"""How far a run is, and what it has done."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Summary:
    """Counts of one run of `claprt index`; `report` of `claprt.library.create.index` gets it while it grows."""

    found: int = 0
    """Sounds that the sources hold, as far as they were read."""
    embedded: int = 0
    """Sounds whose content went through the model."""
    copied: int = 0
    """Sounds whose content the library holds under another path."""
    unchanged: int = 0
    """Sounds that were there already."""
    touched: int = 0
    """Sounds with another time and the same content."""
    failed: int = 0
    failed_before: int = 0
    """Sounds that failed in an earlier run and have not changed; part of `unchanged`."""
    vanished: int = 0
    """Sounds that are no longer there, now marked."""
    returned: int = 0
    """Sounds that were marked and are there again."""
    rows: int = 0
    """Rows that were added."""
    sound_s: float = 0.0
    """Seconds of sound that were embedded."""
    read_s: float = 0.0
    """Seconds of reading, decoding and log-mels, added up over threads."""
    compute_s: float = 0.0
    """Seconds in the audio tower, added up over threads."""
    write_s: float = 0.0
    """Seconds of writing the library, beside the others."""
    unreadable: list[str] = field(default_factory=list[str])
    """Folders and archives that could not be read, in words."""
    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    """From the beginning to the end, or to the last report."""

    @property
    def done(self) -> int:
        """Sounds that are dealt with."""
        return self.embedded + self.copied + self.unchanged + self.touched + self.failed

    @property
    def held(self) -> int:
        """Sounds of the sources that the library has rows of."""
        return self.done - self.failed - self.failed_before

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        names = [name for name in self.__slots__ if name not in ("began", "unreadable")]
        plain: dict[str, object] = {name: getattr(self, name) for name in names}
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in plain.items()} | {
            "unreadable": self.unreadable
        }
