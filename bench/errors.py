"""The two ways a command ends badly, each with its exit code.

Every message finishes the sentence: what was found, where, what was expected, what to do.
"""


class BenchError(Exception):
    """A stage failed on what it was given: exit code 1."""

    exit_code = 1


class RequestError(BenchError):
    """The request itself was wrong (a study key, a path, a name): exit code 2."""

    exit_code = 2


class Preempted(BenchError):
    """The job was told to stop (SIGTERM), wrote its state and goes on when started again: exit code 75.

    75 is EX_TEMPFAIL of sysexits.h: a failure that trying again later mends.
    """

    exit_code = 75
