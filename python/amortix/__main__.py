"""``python -m amortix`` is the ``amortix`` program."""

from amortix.cli import main

if __name__ == "__main__":
    main()
