"""What may be wrong where a signature does not match, from what is known without a second look.

For the log of the receiver's owner: which secret looks odd, but never what it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["hint_of_empty_body", "hint_of_secrets"]

_LEAST_LENGTH: Final = 16
_QUOTES: Final = "\"'`"
# As in a line of an .env file. A secret in Base64 may end with "=", and has nothing behind it.
_ASSIGNMENT: Final = re.compile(r"(?:export )?[A-Z][A-Z0-9_]+ ?=[^=].*", re.DOTALL)


def hint_of_secrets(secrets: Sequence[str | bytes]) -> str:
    """Return what is odd about the form of each secret; empty if nothing is."""
    told = ((place, _form_of(secret)) for place, secret in enumerate(secrets, 1))
    return "; ".join(f"secret {place} {form}" for place, form in told if form)


def _form_of(secret: str | bytes) -> str:
    text = secret if isinstance(secret, str) else secret.decode("latin-1")
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        return "is in quotes, which count: take them off if they are not Karla's"
    if _ASSIGNMENT.fullmatch(text):
        return "looks like NAME=value: pass the value alone"
    if len(text) < _LEAST_LENGTH:
        return f"is shorter than {_LEAST_LENGTH} characters, as none of Karla's is"
    return ""


def hint_of_empty_body(declared: int | None) -> str:
    """Return what is odd about a body of 0 bytes; empty if so many were declared, or none."""
    if not declared:
        return ""
    return f"the body was empty, and {declared} bytes were declared: what reads it first?"
