"""`python -m trader` is the command `trader`."""

import sys

from trader.cli import main

sys.exit(main())
