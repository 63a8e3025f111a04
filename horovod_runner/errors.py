"""The three ways in which a run can end early, and the exit code of each.

Everything a user can cause is a `UserError`, or a `DataError` of the definitions: one clear sentence that names the
file, the key and the remedy. Anything else that is raised is a defect of ours and keeps its traceback.
"""

from benchmarks.errors import DataError

EXIT_USER_ERROR = 2
EXIT_DIVERGED = 3
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """A mistake that the user can fix; the message says how. Exit code 2."""


class SharedError(UserError):
    """A mistake that every worker has noticed alike, so that one of them is enough to say it."""


USER_ERRORS = (UserError, DataError)
"""What ends in a sentence and exit code 2, to be caught as one."""


class Diverged(Exception):
    """The training loss stopped being a finite number. Kept as a result; exit code 3."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"the training loss became {loss} at step {step}")
        self.step = step
        self.loss = loss
