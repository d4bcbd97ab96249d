"""What tells that two cases ask for the same of the same scan, as digests that rows can compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vpe_watcher.core.model import Input
from vpe_watcher.core.wire import digest_of


def request_key(job: Mapping[str, Any], engine_version: str) -> str:
    """Return the digest of what is asked for, as duplicates compare it."""
    return digest_of([job.get("outputFiles"), job.get("options"), engine_version])


def sizes_key(inputs: Iterable[Input]) -> str:
    """Return the digest of the inputs' sizes, which need no reading."""
    return digest_of(sorted([str(entry.modality), entry.mark.size] for entry in inputs))


def content_of(entry: Input) -> str | None:
    """Return what tells an input's content: of a series, its instances with their digests."""
    if not entry.slices:
        return entry.sha256
    if any(one.sha256 is None for one in entry.slices):
        return None
    return digest_of(sorted([one.sop_instance_uid, one.sha256] for one in entry.slices))


def content_key(inputs: Iterable[Input]) -> str:
    """Return the digest of all inputs; "" while one of them is unknown, or there is none."""
    digests = [(str(entry.modality), content_of(entry)) for entry in inputs]
    if not digests or any(digest is None for _, digest in digests):
        return ""
    return digest_of(sorted(digests))
