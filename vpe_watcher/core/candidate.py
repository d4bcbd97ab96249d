"""A candidate over time: what one look after the other showed of a group."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vpe_watcher.core.grouping import Group


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group over time, by the caller's monotonic clock in seconds.

    `since` is the moment of its last change or of the last look that found it open for writing.
    `was_moved_in`: it came by one rename from outside the inbox or from an ignored name.
    """

    group: Group
    fingerprint: str
    since: float
    detected: float  # wall clock, seconds since 1970
    looks: int = 1
    first_seen: float = 0.0
    is_open: bool = False
    was_moved_in: bool = False


def looked(
    before: Candidate | None, group: Group, *, now: float, wall: float, moved_in: bool = False
) -> Candidate:
    """Return the candidate after one more look: any difference starts its quiet time anew."""
    fingerprint = group.fingerprint
    if before is None:
        return Candidate(group, fingerprint, now, wall, first_seen=now, was_moved_in=moved_in)
    if before.fingerprint != fingerprint:
        return replace(
            before,
            group=group,
            fingerprint=fingerprint,
            since=now,
            looks=1,
            was_moved_in=moved_in,
        )
    return replace(before, looks=before.looks + 1, was_moved_in=before.was_moved_in or moved_in)


def found_open(before: Candidate, *, now: float) -> Candidate:
    """Return the candidate after a lease has shown a writer: its quiet time starts anew."""
    return replace(before, since=now, is_open=True)
