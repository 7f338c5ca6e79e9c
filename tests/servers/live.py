"""Receivers that are served beside those of the attacks: their names and their secrets."""

from __future__ import annotations

ALIVE, ROTATING, FAILING_ONCE, SLOW, CLOCKED = (
    "alive",
    "rotating",
    "failing-once",
    "slow",
    "clocked",
)

FORWARDED = "forwarded"  # to an app that finds its view under any spelling

OLD, NEW = "old-secret-old-secret", "new-secret-new-secret"

# What /control/secrets/NAME makes of ROTATING's.
SECRETS = {"old": (OLD,), "new-old": (NEW, OLD), "old-new": (OLD, NEW), "new": (NEW,)}
