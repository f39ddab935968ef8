"""Settings of the whole test run."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # `import helpers` from every folder

# no deadline: a busy machine is no failure
settings.register_profile("throughtime", deadline=None, derandomize=True)
settings.load_profile("throughtime")
