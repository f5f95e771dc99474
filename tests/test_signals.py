"""SIGINT and SIGTERM: at once, or at the next safe point; never lost."""

import os
import signal
import subprocess
import sys

import pytest

from parmesan_cagem.signals import Signals, Stopped

BOTH = pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)


def send(number):
    os.kill(os.getpid(), number)


@BOTH
def test_a_signal_stops_at_once(number, status):
    with Signals(), pytest.raises(Stopped) as stopped:
        send(number)
    assert stopped.value.exit_status == status
    assert str(stopped.value) == f"stopped by {number.name}"


@BOTH
def test_a_deferred_signal_waits_for_the_check(number, status):
    reached = []

    def work(signals):
        with signals.deferred():
            signals.check()  # nothing came yet
            send(number)
            reached.append("after the signal")
            signals.check()
            reached.append("after the check")

    with Signals() as signals, pytest.raises(Stopped) as stopped:
        work(signals)
    assert reached == ["after the signal"]
    assert stopped.value.exit_status == status


@BOTH
def test_a_signal_after_the_last_check_is_not_lost(number, status):
    def work(signals):
        with signals.deferred():
            send(number)

    with Signals() as signals, pytest.raises(Stopped) as stopped:
        work(signals)
    assert stopped.value.exit_status == status


@BOTH
def test_after_deferring_a_signal_stops_at_once_again(number, status):
    with Signals() as signals:
        with signals.deferred():
            pass
        with pytest.raises(Stopped):
            send(number)


def test_a_failure_inside_ends_deferring_too():
    with Signals() as signals:
        with pytest.raises(KeyError), signals.deferred():
            raise KeyError
        with pytest.raises(Stopped):
            send(signal.SIGTERM)


def test_the_last_signal_counts():
    def work(signals):
        with signals.deferred():
            send(signal.SIGINT)
            send(signal.SIGTERM)

    with Signals() as signals, pytest.raises(Stopped, match="SIGTERM"):
        work(signals)


@pytest.mark.parametrize("ending", ["well", "badly"])
def test_the_former_handlers_return(ending):
    def mine(*_):
        pass

    before = {number: signal.signal(number, mine) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        try:
            with Signals():
                assert signal.getsignal(signal.SIGINT) is not mine
                assert signal.getsignal(signal.SIGTERM) is not mine
                if ending == "badly":
                    raise KeyError
        except KeyError:
            pass
        assert signal.getsignal(signal.SIGINT) is mine
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@BOTH
def test_a_handler_of_every_exception_does_not_swallow_a_signal(number, status):
    # Theano's optimiser goes on after any Exception of one of its rewrites; so does the checkpoint's reader.
    caught = None
    with Signals():
        try:
            send(number)
        except Exception as error:
            caught = f"swallowed {error}"
        except BaseException as stopped:
            caught = stopped.exit_status
    assert caught == status


def test_a_signal_while_theano_optimises_a_graph_stops_the_program():
    program = """
import os, signal, sys
import parmesan_cagem, theano, theano.tensor as T
from parmesan_cagem import pipeline
from theano.graph.opt import in2out, local_optimizer

@local_optimizer([T.Elemwise])
def interrupted(fgraph, node):
    os.kill(os.getpid(), signal.SIGTERM)

def run(*_):
    x = T.vector("x")
    theano.function([x], T.exp(x), mode=theano.compile.Mode("py", in2out(interrupted, name="interrupted")))
    print("went on")

pipeline.run = run
sys.exit(pipeline.main("mnist", ["--preset", "smoke"], "run_mnist.py"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "run_mnist.py: stopped by SIGTERM\n")
