"""Where a server does something else than the table says, by itself, and why that is so.

What is listed must happen, exactly: an entry that a newer server makes needless fails its test.
Only what is due to a race may come to something else; what that may be is listed too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.attack_table import Case
from tests.servers.cases import Outcome, expected
from tests.servers.launching import KINDS

H11, HTTPTOOLS, HYPERCORN = "uvicorn-h11", "uvicorn-httptools", "hypercorn"
GRANIAN_ASGI, GRANIAN_WSGI = "granian-asgi", "granian-wsgi"
SYNC, GTHREAD = "gunicorn-sync", "gunicorn-gthread"
WAITRESS, WERKZEUG = "waitress", "werkzeug"

EVERY: Final = tuple(kind.name for kind in KINDS)
GRANIAN: Final = (GRANIAN_ASGI, GRANIAN_WSGI)
GUNICORN: Final = (SYNC, GTHREAD)


def but(*names: str) -> tuple[str, ...]:
    """Return the names of all other servers."""
    return tuple(name for name in EVERY if name not in names)


def servers_own(status: int) -> Outcome:
    """Return the outcome that the app never hears of: the server answers by itself."""
    return Outcome((f"server's {status}",))


BAD_REQUEST, TOO_LARGE, HEADERS_TOO_LARGE = map(servers_own, (400, 413, 431))
ACCEPTED = Outcome(("200",), (), 1)
NO_ANSWER = Outcome(())
GIVEN_UP = Outcome((), ("client_disconnected",))


def refused(status: int, reason: str) -> Outcome:
    """Return the outcome of a refusal of ours."""
    return Outcome((str(status),), (reason,))


@dataclass(frozen=True)
class Difference:
    """On these servers these cases come to this outcome.

    or_else: what else it comes to, now and then, by a race within the server.
    """

    servers: tuple[str, ...]
    cases: tuple[str, ...]
    outcome: Outcome
    why: str
    or_else: tuple[Outcome, ...] = ()

    @property
    def outcomes(self) -> list[Outcome]:
        return [self.outcome, *self.or_else]


DIFFERENCES: Final = [
    # --- bytes in the header ---
    Difference(
        but(WERKZEUG),
        ("HEAD-046", "HEAD-051", "HEAD-052", "HEAD-054", "TIME-050"),
        BAD_REQUEST,
        "refuse control characters in a header (RFC 9110, 5.5) before any app is called",
    ),
    Difference(
        (WERKZEUG,),
        ("HEAD-046",),
        refused(401, "no_v1"),
        "ends the header at a bare LF and drops the rest: what is left has no v1",
    ),
    Difference(
        (WERKZEUG,),
        ("HEAD-054",),
        refused(401, "signature_mismatch"),
        "ends the header at a bare CR and stops reading headers: without a length, the body is"
        " empty",
    ),
    Difference(
        (HTTPTOOLS, *GRANIAN, *GUNICORN, WAITRESS),
        ("HEAD-058",),
        BAD_REQUEST,
        "count DEL among the control characters",
    ),
    Difference(
        (GRANIAN_WSGI,),
        ("HEAD-022", "HEAD-056", "HEAD-057", "HEAD-059", "HTTP-034", "TIME-043", "TIME-049"),
        refused(401, "missing_signature"),
        "hands over an empty text for a header that is not ASCII",
    ),
    Difference(
        (H11, HYPERCORN, WAITRESS, WERKZEUG),
        ("HTTP-071",),
        ACCEPTED,
        "join a folded line with spaces (RFC 9112, 5.2): it is what was signed, on one line",
    ),
    # --- names of headers, methods ---
    Difference(
        (GRANIAN_WSGI,),
        ("HTTP-069",),
        ACCEPTED,
        "takes an underscore for a dash; the signature is as genuine",
    ),
    Difference(
        (GRANIAN_WSGI,),
        ("HTTP-070",),
        refused(401, "signature_mismatch"),
        "takes an underscore for a dash, and the later header wins",
    ),
    Difference(
        (HTTPTOOLS, *GUNICORN, WAITRESS),
        ("HTTP-072",),
        BAD_REQUEST,
        "refuse a method that is not upper case",
    ),
    Difference((HYPERCORN,), ("HTTP-072",), ACCEPTED, "makes the method upper case"),
    Difference((HTTPTOOLS,), ("HTTP-008",), BAD_REQUEST, "knows the registered methods only"),
    # --- limits ---
    Difference(
        (H11,),
        ("RESO-002", "RESO-004"),
        BAD_REQUEST,
        "reads 64 KiB of a head, answers, and closes with the rest unread: a reset, which may"
        " overtake the answer",
        or_else=(NO_ANSWER,),
    ),
    Difference(
        (H11,),
        ("RESO-005",),
        refused(401, "malformed_header"),
        "as above, unless the head has come to its end by the time that it is read",
        or_else=(BAD_REQUEST, NO_ANSWER),
    ),
    Difference(
        but(H11, HTTPTOOLS),
        ("RESO-002", "RESO-004"),
        HEADERS_TOO_LARGE,
        "limit the size of a head (RFC 6585, 5), and close with the rest unread, as above",
        or_else=(NO_ANSWER,),
    ),
    Difference(
        but(H11, HTTPTOOLS, WAITRESS),
        ("RESO-005",),
        HEADERS_TOO_LARGE,
        "limit the number or the size of headers, as above",
        or_else=(NO_ANSWER,),
    ),
    Difference(GUNICORN, ("RESO-003",), HEADERS_TOO_LARGE, "take 8,190 bytes in a header"),
    Difference(
        (WAITRESS,),
        ("BODY-033", "BODY-034", "BODY-035", "HTTP-031", "HTTP-044", "RESO-008"),
        TOO_LARGE,
        "takes in the whole body before it calls the app, and is told our limit: it refuses",
    ),
    Difference(
        but(WAITRESS),
        ("BODY-035",),
        refused(413, "body_too_large"),
        "on the wire the size is declared, which is looked at before the header",
    ),
    # --- lengths ---
    Difference(
        but(WERKZEUG),
        ("HTTP-042", "HTTP-043"),
        BAD_REQUEST,
        "refuse a length that is no number (RFC 9112, 6.3)",
    ),
    Difference(
        (H11, HTTPTOOLS, HYPERCORN, *GRANIAN),
        ("HTTP-044",),
        BAD_REQUEST,
        "refuse a length of more digits than they can count",
    ),
    Difference(
        (H11, HYPERCORN, *GRANIAN, WAITRESS),
        ("HTTP-058",),
        ACCEPTED,
        "let Transfer-Encoding win (RFC 9112, 6.3): one request, and its whole body",
    ),
    Difference(
        (WERKZEUG,),
        ("HTTP-058", "HTTP-059"),
        refused(401, "signature_mismatch"),
        "hands over one of the lengths; the body is cut there, and refused for it",
    ),
    Difference(
        (HYPERCORN,),
        ("HTTP-045",),
        Outcome(("server's 400",), ("signature_mismatch",)),
        "takes a body without a length for the next request, and answers that",
    ),
    Difference(
        (HTTPTOOLS,),
        ("HTTP-038",),
        Outcome(("server's 400",), ("signature_mismatch",)),
        "reads on before the app has answered, and answers the rest instead",
    ),
    Difference(
        (HYPERCORN, *GRANIAN),
        ("HTTP-038",),
        Outcome(("401", "server's 400"), ("signature_mismatch",)),
        "answer the rest as a second request, which it is",
    ),
    # --- the end of the connection ---
    Difference(
        (H11, HTTPTOOLS),
        ("HTTP-036",),
        GIVEN_UP,
        "tell an ASGI app that the sender is gone when its half is closed",
    ),
    Difference(
        (HYPERCORN,),
        ("HTTP-035", "HTTP-036"),
        GIVEN_UP,
        "as above, and answers 400 itself if it sees the end apart from the last bytes",
        or_else=(Outcome(("server's 400",), ("client_disconnected",)),),
    ),
    Difference(
        (GRANIAN_ASGI,),
        ("HTTP-035", "HTTP-036"),
        Outcome(("server's 500",), ("client_disconnected",)),
        "as above, and answers 500 itself when the app sends nothing",
    ),
    Difference(
        (GRANIAN_WSGI, *GUNICORN, WERKZEUG),
        ("HTTP-035",),
        refused(400, "body_incomplete"),
        "call a WSGI app with a body that stops half-way; the adapter counts it",
    ),
    Difference(
        (WAITRESS,),
        ("HTTP-035", "HTTP-036"),
        NO_ANSWER,
        "calls no app before the body is whole",
    ),
    Difference(
        (SYNC, WERKZEUG),
        ("HTTP-053",),
        ACCEPTED,
        "serve one request a connection, and close it",
    ),
    Difference(
        (SYNC, WERKZEUG),
        ("HTTP-054",),
        refused(401, "signature_mismatch"),
        "serve one request a connection, and close it",
    ),
]

_LISTED: Final[Mapping[tuple[str, str], Difference]] = {
    (server, case): difference
    for difference in DIFFERENCES
    for server in difference.servers
    for case in difference.cases
}


def acceptable(server: str, case: Case) -> list[Outcome]:
    """Return what a case must come to on a server: the difference listed, or what is expected."""
    listed = _LISTED.get((server, case.id))
    return [expected(case)] if listed is None else listed.outcomes
