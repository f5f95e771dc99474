"""Mutation testing: each small change to a module's source must make some test fail.

mutmut makes the changes (:mod:`tools.mutation.mutants`); its own runner is not used, for three reasons. It picks the
tests of a function by who called it first, but our tests share expensive results (``functools.cache``, fixtures of a
module), so that the test which checks a value is not the one that computed it. It forks a process in which these
results are already there, and a mutant would never be run. And it changes neither constants nor decorated functions.
Here every mutant is a file in a copy of the checkout, and meets all tests of its module in a forked process which has
Theano, SciPy and pytest in memory already, but imports anew whatever depends on the mutant.
"""
