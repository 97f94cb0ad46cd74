"""The telemetry of the libraries that run models here, switched off before any of them is imported.

onnxruntime (from 1.29 on, on Linux too) writes a lasting device id and a queue of events into the user's cache folder when
it is imported, opens a fixed name in the temporary folder, and looks up its collector's address. Calling its own
`disable_telemetry_events()` after the import is too late; the environment variable is read in time. OpenVINO sends an event
when it is imported, through the package `openvino_telemetry`; where that cannot be imported, it uses a replacement of its
own that does nothing.

`CLAPRT_TELEMETRY=on` leaves both as their makers ship them.
"""

from __future__ import annotations

import os
import sys
from typing import Any, cast

VARIABLE = "CLAPRT_TELEMETRY"
"""Environment variable; `on` (or `1`, `true`, `yes`) allows telemetry."""

_ORT_VARIABLE = "ORT_DISABLE_TELEMETRY"
_OPENVINO_PACKAGE = "openvino_telemetry"


def switch_off() -> None:
    """Keep onnxruntime and OpenVINO, imported from now on in this process or its children, from reporting their use.

    A value of `ORT_DISABLE_TELEMETRY` that is set already is kept, and so is a module that is imported already.
    """
    if os.environ.get(VARIABLE, "").strip().lower() in ("on", "1", "true", "yes"):
        return
    os.environ.setdefault(_ORT_VARIABLE, "1")
    # None makes an import of this name fail, as if the package were not installed
    cast("dict[str, Any]", sys.modules).setdefault(_OPENVINO_PACKAGE, None)
