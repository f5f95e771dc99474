"""Write the checkout's commit into parmesan_cagem/source.json, which provenance reads where there is no git.

For images and other copies without .git; the file is in no commit. Without a checkout the commit is null, and a line
says so: tables refuse the records of such a copy.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from parmesan_cagem import provenance


def main() -> None:
    """Replace the file; what it said before must not pass for what git says now."""
    path = provenance.source_file()
    path.unlink(missing_ok=True)
    state = provenance.git_state()
    path.write_text(json.dumps(state) + "\n", encoding="utf-8")
    if state["commit"] is None:
        print(
            "warning: no commit (no .git folder here): `cagem tables` will refuse this copy's records", file=sys.stderr
        )
    else:
        print(f"commit {state['commit']}{', with changes' if state['dirty'] else ''}")


if __name__ == "__main__":
    main()
