from __future__ import annotations

import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karla_receiver import ConfigurationError, Verifier, sign
from karla_receiver.signature.keys import Key, make_keys
from tests.attack_table import DATA


def vectors() -> list[Any]:
    files = ("rfc4231_hmac_sha256.json", "wycheproof_hmac_sha256.json")
    return [
        vector for name in files for vector in json.loads((DATA / name).read_bytes())["vectors"]
    ]


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["id"])
def test_the_mac_agrees_with_published_vectors(vector: Any) -> None:
    message, tag = bytes.fromhex(vector["msg"]), bytes.fromhex(vector["tag"])
    digest = Key(bytes.fromhex(vector["key"])).digest(message[:3], message[3:])

    assert (digest == tag) == vector["accept_as_v1"]
    assert (digest[: len(tag)] == tag) == vector["valid"]


def test_there_are_vectors_of_either_kind() -> None:
    assert {vector["accept_as_v1"] for vector in vectors()} == {True, False}
    assert len(vectors()) == 181


@pytest.mark.parametrize("length", [1, 16, 63, 64, 65, 200])
def test_a_key_of_any_length_gives_what_the_standard_library_gives(length: int) -> None:
    secret = bytes(range(1, length + 1))

    assert Key(secret).digest(b"1.", b"body") == hmac.digest(secret, b"1.body", "sha256")


@given(secret=st.binary(), prefix=st.binary(max_size=20), body=st.binary())
def test_the_mac_is_the_standard_librarys(secret: bytes, prefix: bytes, body: bytes) -> None:
    key = Key(secret)

    assert key.digest(prefix, body) == hmac.digest(secret, prefix + body, "sha256")
    assert key.digest(prefix, body) == key.digest(prefix, body)


UNUSABLE: list[tuple[Any, str]] = [
    ("", "empty or blank"),
    (b"", "empty or blank"),
    (" \t", "empty or blank"),
    (b"\n", "empty or blank"),
    (None, "environment variable"),
    ("canary-secret\n", "newline"),
    (" canary-secret", "space"),
    (b"canary-secret\r\n", "newline"),
    ("\0\0\0", "NUL"),
    (b"\0", "NUL"),
    ("canary-secret\udc80", "UTF-8"),
    ("\ufeffcanary-secret", "byte order mark"),
    (b"\xef\xbb\xbfcanary-secret", "byte order mark"),
    (["canary-secret"], "separate arguments"),
    (17, "int"),
    (bytearray(b"canary-secret"), "bytearray"),
]


@pytest.mark.parametrize(("secret", "remedy"), UNUSABLE)
def test_an_unusable_secret_is_refused_with_the_remedy_and_never_shown(
    secret: Any, remedy: str
) -> None:
    with pytest.raises(ConfigurationError, match=remedy) as refusal:
        make_keys(("fine-secret", secret))

    assert "secret 2" in str(refusal.value)
    assert "canary" not in str(refusal.value)
    assert refusal.value.__context__ is None
    with pytest.raises(ConfigurationError):
        sign(b"", secret)


def test_no_secret_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no secret"):
        Verifier()


def test_a_secret_is_used_as_given() -> None:
    secret = "whsec_p@ss phrase: with spaces & =,"

    assert make_keys((secret,))[0].digest(b"", b"x") == hmac.digest(secret.encode(), b"x", "sha256")


def test_a_key_shows_nothing_of_its_secret() -> None:
    assert repr(Key(b"canary")) == "<Key>"
    assert not hasattr(Key(b"canary"), "__dict__")


MESSAGES: list[tuple[Any, str]] = [
    (None, "is None: is its environment variable set?"),
    (17, "is a int, not str or bytes: pass several secrets as separate arguments"),
    ("", "is empty or blank: anybody could sign with it"),
    ("a ", "starts or ends with a space or newline, as one read from a file: strip it first"),
    ("a\udc80", "cannot be encoded as UTF-8"),
    ("\ufeffa", "starts with a byte order mark, as a file saved on Windows: read it as utf-8-sig"),
    ("\0", "is all NUL, which HMAC takes for the empty one: anybody could sign with it"),
]


@pytest.mark.parametrize(("secret", "problem"), MESSAGES)
def test_a_refusal_of_a_secret_says_in_full_what_to_do(secret: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        make_keys((secret, "fine-secret"))
    assert str(refusal.value) == f"secret 1 {problem}"


def test_a_refusal_of_no_secret_at_all_says_in_full_what_to_do() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        make_keys(())
    assert str(refusal.value) == (
        "no secret given: pass Karla's webhook secret, or use Receiver.from_env()"
    )


@pytest.mark.parametrize("secret", [b"\xff\x00 \xfe", b"secret", "secret", "s\u00e9cret"])
def test_text_is_taken_as_utf_8_and_bytes_as_they_are(secret: str | bytes) -> None:
    raw = secret.encode() if isinstance(secret, str) else secret

    (key,) = make_keys((secret,))
    assert key.digest(b"1.", b"body") == hmac.digest(raw, b"1.body", "sha256")
