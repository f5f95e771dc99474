"""Downloads, processes that meet, and signals: real processes, a local server, real signals.

Promised: the cache holds the good file or none, whatever a mirror, a kill or another process does, and no request
leaves for another host. Of two processes on one run folder the second is refused with the first one's PID and host, and
a lock dies with its owner. Nobody waits for another's compilation. SIGTERM, SIGINT, SIGHUP and a second SIGINT end
training, evaluation, compilation and download with one line and 128 + the signal's number; --resume then ends as a run
that nobody disturbed.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

from torture import together_downloads as downloads
from torture import together_signals as signals
from torture import together_two as two
from torture.figures import Figures, arguments

PARTS = ("downloads", "folder", "compile", "training", "compilation", "evaluation", "download", "start")


def main() -> int:
    """All of it, or the parts that are named."""
    parser = arguments(__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    args = parser.parse_args()
    figures = Figures("together")
    logging.disable(logging.WARNING)  # of mirrors, by the dozen
    os.environ["no_proxy"] = "127.0.0.1"
    scratch = Path(tempfile.mkdtemp(prefix="torture-together-"))
    whole: list[Path] = []

    def reference() -> Path:
        if not whole:
            whole.append(signals.reference(scratch / "reference"))
        return whole[0]

    do = {
        "downloads": lambda at: [f(figures, at / f.__name__, args.seed) for f in _DOWNLOADS],
        "folder": lambda at: [two.one_folder(figures, at / "folder"), two.one_name(figures, at / "name")],
        "compile": lambda at: two.compile_locks(figures, at, args.seed),
        "training": lambda at: signals.in_training(figures, at, reference()),
        "compilation": lambda at: signals.in_compilation(figures, at, reference(), args.seed),
        "evaluation": lambda at: signals.in_evaluation(figures, at, reference()),
        "download": lambda at: signals.in_download(figures, at),
        "start": lambda at: signals.at_the_start(figures, at),
    }
    for part in args.only:
        before = figures.injected
        do[part](scratch / part)
        figures.say(f"{part}: {figures.injected - before} faults")
    return figures.finish(args.json, scratch)


_DOWNLOADS = (downloads.bad_mirrors, downloads.caches, downloads.at_once)

if __name__ == "__main__":
    sys.exit(main())
