"""`python -m throughtime`."""

from throughtime.cli import main

if __name__ == "__main__":
    main()
