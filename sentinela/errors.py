"""Errors that end a command, each with the exit code it stands for.

SentinelaError        1  a check failed
├── BadUse            2  bad use or input
└── NotRunning        3  something needed is not running
"""


class SentinelaError(Exception):
    """A command cannot go on; the message says what, which value, where, and what to do next."""

    exit_code = 1


class BadUse(SentinelaError):
    """The call or its input is wrong."""

    exit_code = 2


class NotRunning(SentinelaError):
    """Something the command needs is not running."""

    exit_code = 3
