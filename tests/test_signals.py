"""SIGINT, SIGTERM and SIGHUP: at once, or at the next safe point; never lost."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from parmesan_cagem.errors import UserError
from parmesan_cagem.signals import Signals, Stopped

EACH = pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)


def send(number):
    os.kill(os.getpid(), number)


@EACH
def test_a_signal_stops_at_once(number, status):
    with Signals(), pytest.raises(Stopped) as stopped:
        send(number)
    assert stopped.value.exit_status == status
    assert str(stopped.value) == f"stopped by {number.name}"


@EACH
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


@EACH
def test_a_signal_after_the_last_check_is_not_lost(number, status):
    def work(signals):
        with signals.deferred():
            send(number)

    with Signals() as signals, pytest.raises(Stopped) as stopped:
        work(signals)
    assert stopped.value.exit_status == status


@EACH
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


@EACH
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


def test_a_failure_after_a_signal_is_the_signal():
    # What a signal broke may raise an exception of its own: a module half imported, a compiler that was hit as well.
    def work():
        with contextlib.suppress(Stopped):
            send(signal.SIGTERM)
        raise ImportError("numpy.core.multiarray failed to import")

    with pytest.raises(Stopped, match="SIGTERM"), Signals():
        work()


@pytest.mark.parametrize("error", [UserError("cannot save the checkpoint"), FloatingPointError("not finite")])
def test_what_else_the_user_must_know_is_not_hidden_by_a_signal(error):
    def work():
        with contextlib.suppress(Stopped):
            send(signal.SIGTERM)
        raise error

    with pytest.raises(type(error)), Signals():
        work()


def test_a_signal_in_a_destructor_comes_again():
    class Stubborn:
        def __del__(self):
            send(signal.SIGTERM)

    def work():
        stubborn = Stubborn()
        del stubborn
        time.sleep(10)

    with pytest.raises(Stopped, match="SIGTERM"), Signals():
        work()


def test_a_signal_whose_exception_got_lost_stops_before_training():
    with Signals() as signals:
        with contextlib.suppress(Stopped):
            send(signal.SIGTERM)
        with pytest.raises(Stopped), signals.deferred():
            pytest.fail("went on")


def python(program, *arguments):
    """Status and error output of a program, started with every signal as a shell starts it."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


DEFERRING = """
import os, signal, sys, threading, time
from parmesan_cagem import signals
signals.SAME_REQUEST_SECONDS = 0.1
first, second, pause = signal.Signals[sys.argv[1]], signal.Signals[sys.argv[2]], float(sys.argv[3])

def send():
    os.kill(os.getpid(), first)
    time.sleep(pause)
    os.kill(os.getpid(), second)

try:
    with signals.Signals("prog") as s, s.deferred():
        threading.Thread(target=send, daemon=True).start()
        lock = threading.Lock()
        lock.acquire()
        end = time.monotonic() + 2
        while time.monotonic() < end:  # a long block of steps
            time.sleep(0.05)
        s.check()
except signals.Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_status)
"""


@pytest.mark.parametrize(("first", "second"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT"), ("SIGINT", "SIGHUP")])
def test_a_second_signal_does_not_wait(first, second):
    lost = "for the second time; what was done since the last checkpoint is lost"
    started = time.monotonic()
    status = 128 + signal.Signals[second]
    assert python(DEFERRING, first, second, "0.5") == (status, f"prog: stopped by {second} {lost}\n")
    assert time.monotonic() - started < 60


def test_two_that_come_together_are_one_request():
    # A terminal that closes tells its processes, and the shell tells them again.
    assert python(DEFERRING, "SIGHUP", "SIGTERM", "0.01") == (143, "stopped by SIGTERM\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_an_ignored_signal_stays_ignored(name):
    program = f"""
import os, signal
signal.signal(signal.{name}, signal.SIG_IGN)
from parmesan_cagem.signals import Signals
with Signals():
    os.kill(os.getpid(), signal.{name})
assert signal.getsignal(signal.{name}) == signal.SIG_IGN
"""
    assert python(program) == (0, "")


@EACH
def test_a_signal_during_the_imports_costs_one_line(number, status):
    program = f"""
import os, sys
sys.argv[0] = "/usr/bin/cagem"
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "numpy":
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Finder())
import parmesan_cagem.cli
"""
    assert python(program) == (status, f"cagem: stopped by {number.name}\n")


def test_elsewhere_signals_are_not_ours():
    program = "import signal, parmesan_cagem; assert signal.getsignal(2) is signal.default_int_handler"
    assert python(program) == (0, "")
