"""Entry point of the `pada` command. It imports next to nothing, so that Ctrl-C is understood from the beginning."""

import sys


def main() -> None:
    try:
        from pada_agent.app import cli

        cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
