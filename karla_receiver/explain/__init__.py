"""Why a signature does not match: an offline diagnosis that proves what it says.

Not imported by the receiver, and never to be called while answering a request.
"""

from __future__ import annotations

from karla_receiver.explain.causes import Cause, Code, Explanation
from karla_receiver.explain.search import explain

__all__ = ["Cause", "Code", "Explanation", "explain"]
