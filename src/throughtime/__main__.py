"""`python -m throughtime`."""

import os
import sys

# -m puts the current folder first in the path: modules that lie there are not ours to run
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - not loaded yet
    del sys.path[0]

from throughtime.start import main

if __name__ == "__main__":
    main()
