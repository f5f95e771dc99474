"""``python -m parmesan_cagem`` is ``cagem``."""

import sys

from parmesan_cagem.cli import main

if __name__ == "__main__":
    sys.exit(main())
