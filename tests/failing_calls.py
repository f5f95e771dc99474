"""A system call that fails, and whether a descriptor is open."""

import os


def failing(code):
    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    return fail


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
