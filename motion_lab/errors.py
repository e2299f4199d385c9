"""The errors a user is meant to read.

Their message is one paragraph: what is wrong, and what to do about it. The command line prints it
without a traceback and exits with :attr:`MotionLabError.exit_code`. Functions of ``motion_lab.ops``
raise ``ValueError`` and ``TypeError`` instead, because they need nothing but torch.
"""


class MotionLabError(Exception):
    """The work was asked for properly and could not be done (a broken checkpoint, a full disk)."""

    exit_code = 1


class UsageError(MotionLabError):
    """What the user typed or handed in cannot be used (no face, not audio, an unknown key)."""

    exit_code = 2
