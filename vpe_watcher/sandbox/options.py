"""What can be set about the simulated Engine, and changed while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints


class ScriptError(ValueError):
    """An option or a fault rule is not one that the sandbox knows. The text says which and why."""


@dataclass(frozen=True, slots=True)
class Options:
    """The simulated Engine's settings. Times in seconds.

    `spelling` picks the submit answer's two names (`presigned`: presignedUploadUrl and
    notifyFinishUploadUrl; `plain`: uploadUrl and notifyUrl), `result_url_key` the result's (`url`
    or `downloadUrl`). `missing` and `failed` name structures that are answered so. `success` false
    fails whole jobs, with `outputs_when_failed` with outputs all the same. `store_url` is the
    origin of pre-signed URLs (empty: the one by which the client came). An empty
    `signed_content_type` lets uploads have any.
    """

    processing_s: float = 0.0
    url_expiry_s: float = 3600.0
    token_expiry_s: float = 86400.0
    spelling: str = "presigned"
    result_url_key: str = "url"
    notify_method: str = "PUT"
    success: bool = True
    outputs_when_failed: bool = False
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    store_url: str = ""
    signed_content_type: str = "application/octet-stream"
    engine_version: str = "sandbox-1"


CHOICES = {
    "spelling": ("presigned", "plain"),
    "result_url_key": ("url", "downloadUrl"),
    "notify_method": ("PUT", "POST"),
}


def changed_options(options: Options, changes: Mapping[str, Any]) -> Options:
    """Return `options` with `changes` applied, or raise ScriptError for what does not fit."""
    kinds = get_type_hints(Options)
    values = {name: _fitting(name, kinds.get(name), value) for name, value in changes.items()}
    return dataclasses.replace(options, **values)


def _fitting(name: str, kind: object, value: Any) -> Any:
    if kind is None:
        raise ScriptError(f"unknown option {name!r}")
    if kind is bool and isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is str and isinstance(value, str) and value in CHOICES.get(name, (value,)):
        return value
    if kind == tuple[str, ...] and isinstance(value, list | tuple):
        return names_of(name, value)
    raise ScriptError(f"option {name!r} cannot be {value!r}")


def names_of(where: str, value: object) -> tuple[str, ...]:
    """Return a list of names as a tuple, or raise ScriptError."""
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ScriptError(f"{where} must be a list of names")
    return tuple(value)
