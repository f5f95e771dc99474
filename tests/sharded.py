"""What the tests of shards do with `cagem evaluate`: a run that is trained and not evaluated, computed in parts."""

from small_runs import called


def evaluate(run, *flags, engine=None, data=None):
    """What ``cagem evaluate`` printed: it must end well."""
    status, printed, told = called("cagem", "evaluate", run, *flags, "--no-progress", engine=engine, data=data)
    assert status == 0, told
    return printed + told


def refused(run, *flags, engine=None, data=None):
    """The one line that it is refused with."""
    status, printed, told = called("cagem", "evaluate", run, *flags, "--no-progress", engine=engine, data=data)
    assert (status, printed, told.count("\n")) == (2, "", 1), told
    return told


def compute(run, parts, *flags, **how):
    for number in range(1, parts + 1):
        evaluate(run, "--shard", f"{number}/{parts}", *flags, **how)


def file_of(run, number, parts=3, kind=""):
    return run / f"evaluation.shard-{number}-of-{parts}.{kind}h5"


def contents(run):
    return {path.name: path.read_bytes() for path in run.iterdir()}
