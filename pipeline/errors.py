"""The user's mistakes and the refusals, each with the exit code a shell sees. One line, no traceback."""


class PolyfuseError(Exception):
    """Something a person can act on: what was given, what was expected, what to do."""

    exit_code = 1


class ConfigError(PolyfuseError):
    """The configuration or the command line is wrong."""

    exit_code = 2


class BudgetExceeded(PolyfuseError):
    """More records failed than `max_error_rate` allows."""

    exit_code = 3


class Refused(PolyfuseError):
    """Going on would mix or lose data: source or identity changed, another writer holds the run."""

    exit_code = 4
