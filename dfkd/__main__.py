"""``python -m dfkd`` is the command ``dfkd``."""

import sys

from dfkd.cli import main

sys.exit(main())
