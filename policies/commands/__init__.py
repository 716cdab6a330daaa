"""The commands of `vtinsert`: each module holds the function of its name."""

from typing import Literal

ConnectorName = Literal["aux", "pin", "usb", "stud"]
"""The names in `vtenv.CONNECTOR_NAMES`, as an option's choices."""


class CommandError(ValueError):
    """What the user can put right: the command ends with this message and exit code 2."""
