"""``python -m amortix.experiments NAME [--quick]``: run an experiment by name."""

from __future__ import annotations

import sys

from amortix.errors import AmortixError
from amortix.experiments import prompt

EXPERIMENTS = {"prompt": prompt.main}


def main(arguments: list[str]) -> int:
    """Run the experiment that the first argument names with the others; the exit status."""
    if not arguments or arguments[0] not in EXPERIMENTS:
        print(f"usage: python -m amortix.experiments {{{','.join(EXPERIMENTS)}}} [--quick]", file=sys.stderr)
        return 2
    try:
        EXPERIMENTS[arguments[0]](arguments[1:])
    except (AmortixError, OSError) as error:
        print(f"amortix: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
