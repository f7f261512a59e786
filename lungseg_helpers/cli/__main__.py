"""``python -m lungseg_helpers.cli``: the same as ``lungseg``."""

from . import main

if __name__ == "__main__":
    main()
