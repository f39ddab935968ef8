"""`python -m throughtime`."""

import os
import sys

# -m puts the current folder first in the path: modules there must not be imported
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - pathlib is not loaded yet
    del sys.path[0]

from throughtime.start import main

if __name__ == "__main__":
    main()
