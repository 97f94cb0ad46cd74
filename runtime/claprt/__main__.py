"""`python -m claprt`, the same as the `claprt` command."""

import sys

from claprt.cli import main

sys.exit(main())
