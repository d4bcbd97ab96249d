"""The rules: no disk, no network, no clock, no randomness. Time and chance are arguments."""
