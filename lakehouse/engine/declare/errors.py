"""The two kinds of error: what may pass by itself (`Transient`) and what will not (`Terminal`).

Retries read the class.
"""


class LakehouseError(Exception):
    """Every error of ours. The message names the culprit, the count, what was left standing, and every way out."""


class Transient(LakehouseError):  # noqa: N818 # the two kinds are words of the house
    """Trying again may help: a rival committed first, a server did not answer."""


class Terminal(LakehouseError):  # noqa: N818 # as above
    """Trying again gives the same: the declaration, the data or the settings must change first."""


class DeclarationError(Terminal):
    """A table file says something that cannot work. Raised at import, before any data is touched."""


class WrongUsage(Terminal):
    """What was asked for names something that is not there, or cannot be read. The command line ends with 2."""


class Refused(Terminal):
    """The data broke a promise; nothing was written (or what was is said)."""


class Conflict(Transient):
    """Another writer committed this version first. Nothing of ours was committed; reopen, read again, decide."""


class LeadsOut(Terminal):
    """A file that was listed lies outside its storage: a link leads there."""


class FileGone(Transient):
    """A file that was listed is no longer there."""
