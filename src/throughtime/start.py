"""Entry point of the command; handles Ctrl-C during imports."""

import os


def main() -> None:
    """Run the command line."""
    try:
        from throughtime.cli import main as run
    except KeyboardInterrupt:
        os.write(2, b"throughtime: interrupted; nothing was written\n")
        os._exit(130)
    run()
