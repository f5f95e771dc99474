"""CaGeM on OMNIGLOT at 28x28, the 50 alphabets as clusters: one command per cell of Table 3.

    python run_omniglot.py --labels 500 --preset demo     # the paper's networks, 4 epochs, F_100
    python run_omniglot.py --labels 500 --preset short    # every schedule ten times shorter, 60 epochs
    python run_omniglot.py --labels 500                   # the paper's recipe: 1000 epochs, days on a CPU
    python run_omniglot.py --help                         # every flag with its default and where it comes from

Each writes results/runs/<name>/ (config, log, checkpoint, record, samples) and prints the table row that it fills. The
data are Burda's chardata.mat or the original release, resized: docs/data.md.
"""

import sys

from parmesan_cagem.pipeline import main

if __name__ == "__main__":
    sys.exit(main("omniglot", prog="run_omniglot.py"))
