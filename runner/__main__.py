"""`python -m runner` is `voicejobs`."""

from runner.cli import main

if __name__ == "__main__":
    main()
