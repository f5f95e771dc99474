"""A Python process of its own: what it prints."""

import os
import subprocess
import sys


def run_python(program, python=sys.executable, **environment):
    """What the program prints, in a process of its own; it must end well and say nothing else."""
    clean = {name: value for name, value in os.environ.items() if name != "THEANO_FLAGS"}
    done = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, env={**clean, **environment}, timeout=250
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
