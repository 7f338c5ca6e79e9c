"""The user's functions: which of them want an event, and how they are called."""
