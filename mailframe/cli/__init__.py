"""The ``mailframe`` command."""
