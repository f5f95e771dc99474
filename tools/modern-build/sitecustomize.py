"""Lets pip build Theano-PyMC 1.1.2 on Python 3.12 and later: `make modern` puts this folder on PYTHONPATH meanwhile.

The version script of that source distribution (versioneer) reads its settings with ``configparser.SafeConfigParser``
and its ``readfp``, which Python 3.12 dropped. The archive itself stays as its hash says.
"""

import configparser

if not hasattr(configparser, "SafeConfigParser"):

    class SafeConfigParser(configparser.ConfigParser):
        """The old name, with the old name of a method."""

        readfp = configparser.ConfigParser.read_file

    configparser.SafeConfigParser = SafeConfigParser
