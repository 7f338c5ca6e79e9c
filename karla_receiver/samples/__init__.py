"""Sample deliveries: one file for each kind of event, in the byte styles that JSON comes in.

People, shops and ids in them are made up. A signature covers bytes, so read these files with
`read`, and never save them again.
"""

from __future__ import annotations

from importlib.resources import files

from karla_receiver.errors import ConfigurationError

__all__ = ["names", "read"]

_FOLDER = files(__name__)
_SUFFIX = ".json"


def names() -> list[str]:
    """Return the names of all samples, sorted, as in `shipment_delivered`."""
    entries = (entry.name for entry in _FOLDER.iterdir())
    return sorted(name.removesuffix(_SUFFIX) for name in entries if name.endswith(_SUFFIX))


def read(name: str) -> bytes:
    """Return a sample's body. Raises ConfigurationError if there is none of that name."""
    if name not in names():
        raise ConfigurationError(f"no sample is called {name!a}: there are {', '.join(names())}")
    return _FOLDER.joinpath(name + _SUFFIX).read_bytes()
