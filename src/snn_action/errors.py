"""The two failures a user can cause or meet, told apart by what they should do next."""


class ConfigError(ValueError):
    """Wrong usage or configuration: mend the named key or argument (exit code 2)."""


class WorkError(RuntimeError):
    """The request was right but the work failed: a broken file, a full disk, no network (exit code 1)."""
