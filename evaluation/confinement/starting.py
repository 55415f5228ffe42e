"""Our own modules as processes of their own, with the standard library alone."""

import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2]
START = """
import sys
package = type(sys)("pada_agent")
package.__path__ = [sys.argv.pop(1)]
sys.modules["pada_agent"] = package
__import__("importlib").import_module(sys.argv.pop(1)).main()
"""
"""The package itself is left out: its face to the world needs more than the standard library, and time."""


def command_of(module: str) -> list[str]:
    """Runs `main` of a module: no site-packages, no settings of Python's from the environment."""
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", START, str(PACKAGE), module]
