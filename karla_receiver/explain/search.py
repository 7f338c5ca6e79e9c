"""The search for what makes a signature fit: bounded, offline, and for people, not for requests.

Each candidate is proven or dropped by the one thing that proves: the MAC. Nothing is guessed.
"""

from __future__ import annotations

import hmac
import os
import time
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hmac import compare_digest
from itertools import product
from typing import Final, NamedTuple, TypeAlias

from karla_receiver.checks import checked_body, is_finite
from karla_receiver.decoding import parse_event
from karla_receiver.errors import ConfigurationError, PayloadError, Reason, SignatureError
from karla_receiver.explain import bodies, clocks, json_trees
from karla_receiver.explain.advice import cause
from karla_receiver.explain.causes import Cause, Change, Code, Explanation
from karla_receiver.explain.headers import (
    ALGORITHMS,
    HeaderPairs,
    Reading,
    as_lines,
    as_pairs,
    readings,
)
from karla_receiver.explain.hints import hints
from karla_receiver.explain.json_trees import JSONTree
from karla_receiver.explain.secret_forms import Form, forms
from karla_receiver.request import Headers
from karla_receiver.signature import Verifier
from karla_receiver.signature.keys import Key, make_keys

__all__ = ["explain"]

_MAX_HASHES = 150_000
_MAX_HASHED_BYTES = 4 * 1_073_741_824
_MAX_CANDIDATE_BYTES = 24 * 1_048_576
_BODY_ALONE = "signed was the body alone, without t"

# Decided by the signature; for all other reasons it does not matter, or fits.
_OF_THE_SIGNATURE: Final = frozenset(
    {
        Reason.MISSING_SIGNATURE,
        Reason.MALFORMED_HEADER,
        Reason.NO_V1,
        Reason.SIGNATURE_MISMATCH,
        Reason.TIMESTAMP_TOO_OLD,
        Reason.TIMESTAMP_IN_FUTURE,
    }
)


def explain(
    body: bytes,
    header: str | bytes | Sequence[str | bytes] | None,
    *secrets: str | bytes,
    now: float | None = None,
    tolerance: float = 300,
    others: Mapping[str, str | bytes] | None = None,
    headers: Headers = (),
    like: Sequence[bytes] = (),
    refused: Reason | str | None = None,
    is_whole: bool = True,
) -> Explanation:
    """Say why a delivery is refused, and prove it.

    body: the raw body as it was received; header: as for `Verifier.verify`.
    secrets: as they are configured, blanks and quotes included.
    now: when it was received, in unix seconds; the present time if left out. tolerance: seconds.
    others: secrets of other environments, by a name to call each by.
    headers: all that came with the delivery, as in `Request`.
    like: bodies of genuine deliveries, from which the order of their keys is learned.
    refused: the reason that the receiver logged, if that is known: it is where this starts.
    is_whole: False if body is only the beginning of what came, which proves nothing.
    Raises ConfigurationError for a missing or blank secret, a bad tolerance, a bad time, an
    unknown reason or a genuine body that is not JSON; TypeError for a body or header that is none.

    Works offline: in a tenth of a second for a usual delivery, in half a minute for a hostile
    one of a megabyte. Call it from a terminal or a test, and never while answering a request.
    """
    try:
        raw = bytes(checked_body(body))
        moment = time.time() if now is None else now
        if not is_finite(moment):
            raise ConfigurationError("now must be unix seconds: a finite number")
        given = {f"secret {number}": secret for number, secret in enumerate(secrets, 1)}
        configured = list(_checked(given).values())
        named = _checked({ascii(name): secret for name, secret in (others or {}).items()})
        recorded = _checked_reason(refused)
        genuine = _read_all(like)
        refusal = _refusal(raw, header, configured, moment, tolerance)
        lines, pairs = as_lines(header), as_pairs(headers)
        if recorded is not None and recorded not in _OF_THE_SIGNATURE:
            return _told(recorded, raw, refusal, is_whole)
        if refusal is None:
            return _verifying(recorded)
        if not is_whole:
            reason, causes = recorded or refusal.reason, _facts(refusal, pairs)
            return Explanation(reason=reason, causes=causes, hints=(_cut(raw),))
        search = _Search(raw, list(_forms(configured, named)), genuine)
        found = search.run(readings(lines, pairs))
    finally:
        # Error reports with local variables are common: no frame that an error leaves holds one.
        del secrets, others
        given, configured, named = {}, [], {}
    reason = recorded or refusal.reason
    if found is not None:
        changes, timestamp = found
        causes = _causes((*changes, *clocks.lateness(timestamp, moment, tolerance)))
        return Explanation(reason=reason, causes=causes, is_proven=True, tried=search.tried)
    return Explanation(
        reason=reason,
        causes=_facts(refusal, pairs),
        hints=_causes(hints(raw, lines, pairs)),
        tried=search.tried,
        is_complete=search.is_complete,
    )


def _causes(changes: Iterable[Change]) -> tuple[Cause, ...]:
    """Return a cause for each code, with the evidence of all its changes."""
    evidence: dict[Code, list[str]] = {}
    for change in changes:
        evidence.setdefault(change.code, []).append(change.evidence)
    return tuple(cause(Change(code, "; ".join(all_of))) for code, all_of in evidence.items())


def _read_all(like: Sequence[bytes]) -> list[JSONTree]:
    trees: list[JSONTree] = []
    for place, body in enumerate(like, 1):
        trees.append(json_trees.read(checked_body(body)))
        if trees[-1] is None:
            raise ConfigurationError(f"genuine body {place} is not JSON in UTF-8")
    return trees


def _checked_reason(refused: Reason | str | None) -> Reason | None:
    if refused is None or isinstance(refused, Reason):
        return refused
    try:
        return Reason(refused)
    except ValueError:
        raise ConfigurationError(f"refused must be a reason, not {str(refused)[:40]!a}") from None


def _told(
    recorded: Reason, body: bytes, refusal: SignatureError | None, is_whole: bool
) -> Explanation:
    """Explain what the receiver refused for another reason than the signature."""
    evidence = f"the receiver refused it as {recorded}"
    if recorded in {Reason.INVALID_JSON, Reason.INVALID_ENVELOPE}:
        try:
            parse_event(body)
        except PayloadError as error:
            evidence = error.detail
    return Explanation(
        reason=recorded,
        causes=(cause(Change(Code(recorded), evidence)),),
        is_proven=refusal is None,
        hints=() if is_whole or refusal is None else (_cut(body),),
    )


def _verifying(recorded: Reason | None) -> Explanation:
    if recorded is None:
        return Explanation(reason=None)
    told = cause(Change(Code.VERIFIES_HERE, f"it was refused as {recorded}"))
    return Explanation(reason=recorded, causes=(told,), is_proven=True)


def _facts(refusal: SignatureError, headers: HeaderPairs) -> tuple[Cause, ...]:
    """Return what is wrong with a header that no repair makes fit."""
    if refusal.reason == Reason.MISSING_SIGNATURE:
        evidence = f"not among {len(headers)} header line(s) that were given"
        return (cause(Change(Code.NO_HEADER, evidence)),)
    if refusal.reason in {Reason.MALFORMED_HEADER, Reason.NO_V1}:
        return (cause(Change(Code(refusal.reason), refusal.detail)),)
    return ()


def _cut(body: bytes) -> Cause:
    return cause(Change(Code.BODY_CUT, f"the first {len(body)} bytes"))


def _checked(secrets: dict[str, str | bytes]) -> dict[str, bytes]:
    """Return the bytes of each secret that is one but for what a file has around it."""
    checked: dict[str, bytes] = {}
    secret: str | bytes = ""
    try:
        for name, secret in secrets.items():
            bare = _bare(secret) if isinstance(secret, str | bytes) else secret
            try:
                make_keys((bare,))
            except ConfigurationError as error:
                raise ConfigurationError(str(error).replace("secret 1", name, 1)) from None
            checked[name] = secret.encode() if isinstance(secret, str) else secret
        return checked
    finally:
        secret = bare = ""
        del secrets, checked


def _refusal(
    body: bytes,
    header: str | bytes | Sequence[str | bytes] | None,
    secrets: list[bytes],
    now: float,
    tolerance: float,
) -> SignatureError | None:
    # What a file has around a secret makes no verifier: one that nobody knows stands in for it.
    usable = [secret for secret in secrets if _bare(secret) == secret]
    if secrets and not usable:
        usable = [os.urandom(32).hex().encode()]
    try:
        Verifier(*usable, tolerance=tolerance, clock=lambda: now).verify(body, header)
    except SignatureError as error:
        return SignatureError(error.reason, error.detail)  # without the frames that it left
    finally:
        del secrets, usable
    return None


def _bare(secret: str | bytes) -> str | bytes:
    if isinstance(secret, str):
        return secret.strip().removeprefix("\ufeff").strip()
    return secret.strip().removeprefix(BOM_UTF8).strip()


class _Target(NamedTuple):
    """What to hash in front of a body, and the signature that must come of it."""

    prefix: bytes
    reading: Reading
    changes: tuple[Change, ...]
    timestamp: int | None

    def __repr__(self) -> str:
        return f"<_Target {self.reading!r}>"


# What was undone until the signature fitted, and when that says that it was made.
_Found: TypeAlias = tuple[tuple[Change, ...], int | None]
# A key to try, and what makes it differ from the secret as it is configured.
_KeyForm: TypeAlias = tuple[tuple[Change, ...], Key]


class _Search:
    """Tries what may have been signed with what may be the key, the likeliest first."""

    def __init__(self, body: bytes, secrets: list[Form], genuine: Sequence[JSONTree]) -> None:
        self._body = body
        self._genuine = genuine
        self._forms = secrets
        self._bytes_left = _MAX_HASHED_BYTES
        self._candidate_bytes_left = _MAX_CANDIDATE_BYTES
        self.tried = 0

    @property
    def is_complete(self) -> bool:
        """Whether everything was tried."""
        return self.tried < _MAX_HASHES and min(self._bytes_left, self._candidate_bytes_left) > 0

    def run(self, readings: Iterable[Reading]) -> _Found | None:
        """Return the first that fits; None if none does, or the bound is reached before."""
        every = [target for reading in readings for target in _targets(reading)]
        targets = [target for target in every if not _is_of_other_algorithm(target)]
        keys = [(changes, Key(form)) for changes, form in self._forms]
        given = [key for key in keys if not key[0]]
        originals: list[bodies.Candidate] = []
        framed = [((), self._body), ((), repr(self._body).encode())]
        others = [each for target in targets if target.prefix for each in _other_messages(target)]
        return (
            self._among([((), self._body)], keys, targets)
            or self._among(self._kept(originals), given, targets)
            or self._among(originals, [key for key in keys if key[0]], targets)
            or self._among(framed, keys, others)
            or self._of_other_algorithm(filter(_is_of_other_algorithm, every))
        )

    def _kept(self, originals: list[bodies.Candidate]) -> Iterator[bodies.Candidate]:
        """Yield what the body may have been, and append it to originals."""
        seen = {hash(self._body)}
        for candidate in bodies.originals(self._body, self._genuine):
            body = candidate[1]
            if hash(body) not in seen:
                seen.add(hash(body))
                self._candidate_bytes_left -= len(body)
                if self._candidate_bytes_left <= 0:
                    return
                originals.append(candidate)
                yield candidate

    def _of_other_algorithm(self, targets: Iterable[_Target]) -> _Found | None:
        body_alone = Change(Code.OTHER_SCHEME, _BODY_ALONE)
        for target in targets:
            messages = {b"": (body_alone,)} | {target.prefix: ()}
            for (prefix, changes), (of_secret, secret) in product(messages.items(), self._forms):
                self.tried += 1
                if _has_mac(secret, prefix + self._body, target.reading.signatures[0]):
                    return (*target.changes, *changes, *of_secret), target.timestamp
        return None

    def _among(
        self,
        candidates: Iterable[bodies.Candidate],
        keys: Sequence[_KeyForm],
        targets: Sequence[_Target],
    ) -> _Found | None:
        for changes, body in candidates if targets else ():
            for (of_key, key), target in product(keys, targets):
                if self.tried >= _MAX_HASHES or self._bytes_left <= 0:
                    return None
                self.tried += 1
                self._bytes_left -= len(body)
                if _fits(key.digest(target.prefix, body), target.reading):
                    of_body = (each if isinstance(each, Change) else each() for each in changes)
                    return (*target.changes, *of_body, *of_key), target.timestamp
        return None


def _forms(secrets: list[bytes], others: Mapping[str, bytes]) -> Iterator[Form]:
    for number, secret in enumerate(secrets, 1):
        yield from forms(secret, f"secret {number}" if len(secrets) > 1 else "the secret")
    for name, secret in others.items():
        change = Change(Code.SECRET_OF_ANOTHER_ENVIRONMENT, f"with the secret {name}")
        for changes, form in forms(secret, f"the secret {name}"):
            yield (change, *(each for each in changes if each.code != Code.SECRET_BLANKS)), form


def _is_of_other_algorithm(target: _Target) -> bool:
    return any(len(each) * 2 in ALGORITHMS for each in target.reading.signatures)


def _has_mac(secret: bytes, message: bytes, signature: bytes) -> bool:
    try:
        digest = hmac.digest(secret, message, ALGORITHMS[len(signature) * 2])
    except ValueError:  # of an interpreter that leaves old algorithms out
        return False
    finally:
        del secret
    return compare_digest(digest, signature)


def _targets(reading: Reading) -> Iterator[_Target]:
    text = reading.timestamp
    if not text:
        # Without a time of its own, it can only be of what was sent beside the header.
        change = Change(Code.OTHER_SCHEME, _BODY_ALONE)
        yield _Target(b"", reading, (*reading.changes, change), None)
        return
    stamp = int(text) if text.isascii() and text.isdigit() else None
    yield _Target(f"{text}.".encode(), reading, reading.changes, stamp)
    for name, per_second in clocks.UNITS:
        if stamp is not None and stamp >= clocks.SMALLEST_SECONDS * per_second:
            change = Change(
                Code.TIMESTAMP_RESPELLED, f"t came in {name}, and was signed in seconds"
            )
            seconds = stamp // per_second
            yield _Target(f"{seconds}.".encode(), reading, (*reading.changes, change), seconds)


def _other_messages(target: _Target) -> Iterator[_Target]:
    stamp = target.prefix[:-1]
    for evidence, prefix in (
        (_BODY_ALONE, b""),
        ("signed was t and the body, with nothing between them", stamp),
        ("signed was t and the body with a colon between them", stamp + b":"),
        ("signed was t and the body with a newline between them", stamp + b"\n"),
        ("signed was t and the body with a comma between them", stamp + b","),
        ("signed was v1, t and the body with colons between them", b"v1:" + stamp + b":"),
        ("signed was a form of the body after t and the dot", target.prefix),
    ):
        changes = (*target.changes, Change(Code.OTHER_SCHEME, evidence))
        yield target._replace(prefix=prefix, changes=changes)


def _fits(digest: bytes, reading: Reading) -> bool:
    if reading.cut and digest.hex().startswith(reading.cut):
        return True
    return any(compare_digest(digest, signature) for signature in reading.signatures)
