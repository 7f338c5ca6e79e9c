"""The table of what can be fuzzed."""

from __future__ import annotations

from fuzzing import decoding, planted, signature
from fuzzing.promises import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (signature.TARGET, decoding.TARGET, planted.TARGET)
}
