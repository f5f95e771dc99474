"""CaGeM on MNIST: one command per cell of Tables 1 and 2.

    python run_mnist.py --labels 100 --preset demo     # minutes: quarter-width networks, 5 epochs, F_100
    python run_mnist.py --labels 100 --preset short    # hours on 2 cores: full width, every schedule ten times shorter
    python run_mnist.py --labels 100                   # the paper's recipe: 1000 epochs, days on a CPU
    python run_mnist.py --labels 0 --clusters 20       # CaGeM-0, K=20: no labels
    python run_mnist.py --help                         # every flag with its default and where it comes from

Each writes results/runs/<name>/ (config, log, checkpoint, record, samples) and prints the table row that it fills.
"""

import sys

from parmesan_cagem.pipeline import main

if __name__ == "__main__":
    sys.exit(main("mnist", prog="run_mnist.py"))
