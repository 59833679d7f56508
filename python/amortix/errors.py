"""Every exception that amortix raises on purpose. Each message names the thing at fault and what to do about it."""

from __future__ import annotations


class AmortixError(Exception):
    """Base of all errors raised by amortix."""


class ArrayError(AmortixError, ValueError):
    """An array has the wrong dtype, shape, memory order or values; the message names it and what was expected."""


class SourceError(AmortixError, ValueError):
    """A table cannot be used as asked: a missing column, text where numbers belong, a missing value."""


class FormatError(AmortixError, ValueError):
    """A file is damaged, truncated, or of a kind or schema version that this release cannot read."""


class StateError(AmortixError, ValueError):
    """A saved state does not fit the object that it is loaded into."""


class ConfigError(AmortixError, ValueError):
    """A setting is out of its range or names something that does not exist."""


class LearnerError(AmortixError, ValueError):
    """Data and learner do not fit: more features or classes than it takes, a call out of order."""
