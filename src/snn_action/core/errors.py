"""The two failures a user can cause or meet, told apart by what they should do next."""

import unicodedata


def printable(text: str) -> str:
    """The text on one line: control characters, line breaks and bytes that are no UTF-8 as escapes."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    breaks = ("Cc", "Zl", "Zp")
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in breaks else character for character in text
    )


class ConfigError(ValueError):
    """Wrong usage or configuration: fix the named key or argument (exit code 2)."""


class WorkError(RuntimeError):
    """The request was right but the work failed: a broken file, a full disk, no network (exit code 1)."""


class VideoError(WorkError):
    """A video cannot be used. ``kind`` is the reason in a word or two, the message names the file and says more."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(printable(message))
        self.kind = kind

    def __reduce__(self) -> tuple[type["VideoError"], tuple[str, str]]:
        return type(self), (str(self), self.kind)
