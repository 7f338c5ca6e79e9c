"""A file for one secret, which only its owner can read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from karla_receiver.errors import ConfigurationError, KarlaReceiverError
from karla_receiver.registration import Secret

__all__ = ["SecretFile", "SecretLostError"]


class SecretLostError(KarlaReceiverError):
    """A secret that is given once could not be kept."""


class SecretFile:
    """A new file, made before there is a secret: one that comes once must not be lost.

    Use it in a `with` statement: if nothing was written at its end, the file is removed.
    Raises ConfigurationError if there is such a file already, or it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_written: bool = False

    def __enter__(self) -> SecretFile:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb")
        except FileExistsError:
            raise ConfigurationError(
                f"{self._path} exists, and may hold a secret that is in use: name another file"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"cannot make {self._path}: {error.strerror}") from None
        return self

    def write(self, secret: Secret) -> None:
        """Write the secret as it is, without a line end, down to the disk.

        Raises SecretLostError.
        """
        try:
            self._file.write(secret.reveal().encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise SecretLostError(
                f"cannot write to {self._path} ({error.strerror}), and so the new webhook's secret"
                " is lost: delete the webhook, and create another one"
            ) from None
        self.is_written = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # of what could not be written, which was told
            self._file.close()
        if not self.is_written:
            self._path.unlink(missing_ok=True)
