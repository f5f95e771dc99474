"""The subcommands of ``cagem``: each module has ``HELP``, ``add_arguments(parser)`` and ``run(args, signals)``.

They import Theano only inside ``run``: ``cagem --help`` answers at once.
"""
