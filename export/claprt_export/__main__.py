"""`python -m claprt_export`, the same as the `claprt-export` command."""

import sys

from claprt_export.cli import main

sys.exit(main())
