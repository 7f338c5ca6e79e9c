# ruff: noqa: S105 - what is called SECRET_... here is the name of a cause
"""What an explanation consists of: a closed list of causes, and plain data about each found."""

from __future__ import annotations

from enum import StrEnum, unique
from typing import NamedTuple

import msgspec

from karla_receiver.errors import Reason

__all__ = ["Cause", "Change", "Code", "Explanation"]


@unique
class Code(StrEnum):
    """What can have happened to a delivery, or be wrong with a secret or a clock."""

    # Proven: undoing it makes the delivery verify.
    JSON_RESERIALISED = "json_reserialised"
    KEYS_REORDERED = "keys_reordered"
    NEWLINES_CHANGED = "newlines_changed"
    BYTE_ORDER_MARK = "byte_order_mark"
    COMPRESSION_CHANGED = "compression_changed"
    ENCODED_BODY = "encoded_body"
    JSON_IN_STRING = "json_in_string"
    WRAPPED_BODY = "wrapped_body"
    PYTHON_REPR = "python_repr"
    CHARSET_CHANGED = "charset_changed"
    OTHER_SCHEME = "other_scheme"
    SECRET_BLANKS = "secret_blanks"
    SECRET_QUOTED = "secret_quoted"
    SECRET_LINE = "secret_line"
    SECRET_LIST = "secret_list"
    SECRET_ENCODED = "secret_encoded"
    SECRET_RESPELLED = "secret_respelled"
    SECRET_REGISTERED_WITH_BLANKS = "secret_registered_with_blanks"
    SECRET_OF_ANOTHER_ENVIRONMENT = "secret_of_another_environment"
    HEADER_TRUNCATED = "header_truncated"
    HEADER_REPEATED = "header_repeated"
    HEADER_RESPELLED = "header_respelled"
    HEADER_RENAMED = "header_renamed"
    TIMESTAMP_RESPELLED = "timestamp_respelled"
    TOO_LATE = "too_late"
    CLOCK_BEHIND = "clock_behind"
    VERIFIES_HERE = "verifies_here"
    # Told: what the receiver refused it for, whether its signature fits or not.
    NO_HEADER = "no_header"
    MALFORMED_HEADER = "malformed_header"
    NO_V1 = "no_v1"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    HTTPS_REQUIRED = "https_required"
    LENGTH_REQUIRED = "length_required"
    BAD_CONTENT_LENGTH = "bad_content_length"
    BODY_INCOMPLETE = "body_incomplete"
    BODY_TOO_LARGE = "body_too_large"
    CLIENT_DISCONNECTED = "client_disconnected"
    INVALID_JSON = "invalid_json"
    INVALID_ENVELOPE = "invalid_envelope"
    UNDECODABLE_EVENT = "undecodable_event"
    HANDLER_ERROR = "handler_error"
    RETRY_LATER = "retry_later"
    IN_PROGRESS = "in_progress"
    UNAVAILABLE = "unavailable"
    # Hints: facts about what came that no computation can prove to be the cause.
    BODY_CUT = "body_cut"
    EMPTY_BODY = "empty_body"
    OTHER_LENGTH = "other_length"
    ENCODING_DECLARED = "encoding_declared"
    SORTED_KEYS = "sorted_keys"
    NOT_JSON = "not_json"


class Change(NamedTuple):
    """Something that was undone on the way to a signature that fits, and how it showed."""

    code: Code
    evidence: str


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, for people and programs.

    code: for programs; sentence: what happened; evidence: how that showed in this delivery;
    fix: what to do. where: framework or tool, and how it usually happens there.
    """

    code: Code
    sentence: str
    evidence: str
    fix: str
    where: dict[str, str]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a delivery is refused.

    reason: what it was refused for, else what a `Verifier` refuses it for; None if it is not.
    causes: what is wrong. Empty for what verifies, and for what no known cause explains, such as
    a forgery.
    is_proven: whether the signature fits once the causes are undone.
    hints: where nothing is proven, facts that may lead on.
    tried: how many signatures were computed in search of a cause.
    is_complete: False if the search ended at its bound before everything was tried.
    No secret and no signature is in it, and nothing of the body but, escaped, names of its keys.
    """

    reason: Reason | None
    causes: tuple[Cause, ...] = ()
    is_proven: bool = False
    hints: tuple[Cause, ...] = ()
    tried: int = 0
    is_complete: bool = True

    @property
    def verifies(self) -> bool:
        """Whether there is nothing to explain."""
        return self.reason is None
