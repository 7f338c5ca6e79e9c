"""The frameworks: a folder for each, with all that the tests know of it alone.

Its `__init__.py` has a FRAMEWORK (see `contract.py`), by which it takes part in what is tried at
every framework: the table of attacks, decorated views, layers, guides, examples. Beside it lie the
tests of its adapter's own, `test_<name>.py`, and `user_code.py`, for type checkers.
"""
