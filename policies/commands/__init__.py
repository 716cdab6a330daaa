"""The commands of `vtinsert`: each module holds the function of its name."""


class CommandError(ValueError):
    """What the user can put right: the command ends with this message and exit code 2."""
