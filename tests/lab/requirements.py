"""Print the Python packages that pyproject.toml pins, one a line, for pip.

The project itself is not installed: the tests run from the checkout. This is run by a bare new venv, so it imports
nothing but the standard library.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
print("\n".join([*project["dependencies"], *project["optional-dependencies"]["dev"]]))
