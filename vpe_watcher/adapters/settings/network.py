"""How addresses and AE titles of the DICOM receiver are read.

Owns the rules for single values and their sentences, and what a checked value means. Never asks a
name server.
"""

from __future__ import annotations

import ipaddress
import re

from vpe_watcher.adapters.settings.values import WrongValueError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - only where the configuration says so
_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:]*)):(?P<port>[0-9]{1,5})")
_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")


def listen_address(text: str) -> str:
    """Check where to listen: "" for nowhere, HOST:PORT, [IPv6]:PORT, or :PORT for all of IPv4."""
    if text:
        split_listen(text)
    return text


def split_listen(text: str) -> tuple[str, int]:
    """Return the address and port of a checked HOST:PORT."""
    hint = 'write "127.0.0.1:11112", "[::1]:11112", or ":11112" for every address of this machine'
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise WrongValueError("must be an address and a port", hint=hint)
    host = match["six"] or match["host"] or ALL_ADDRESSES
    if host == "localhost":
        host = "127.0.0.1"
    try:
        found = ipaddress.ip_address(host)
    except ValueError as error:
        raise WrongValueError("must begin with an IP address", hint=hint) from error
    return str(found), int(match["port"])


def title(text: str) -> str:
    """Check an AE title (DICOM PS3.5, VR AE)."""
    if not _TITLE.fullmatch(text):
        raise WrongValueError(
            "must be an AE title of 1 to 16 characters",
            hint="no backslash, no control characters, no spaces around it",
        )
    return text


def titles(words: tuple[str, ...]) -> tuple[str, ...]:
    """Check a list of AE titles."""
    return tuple(title(word) for word in words)


def allowed_networks(words: tuple[str, ...]) -> tuple[str, ...]:
    """Check a list of addresses and networks, at least one."""
    if not words:
        raise WrongValueError(
            "is empty: nobody could send", hint='list addresses or networks; "0.0.0.0/0" is all'
        )
    for word in words:
        network_of(word)
    return words


def network_of(word: str) -> Network:
    """Return the network that a word means: an address is one of its own."""
    try:
        return ipaddress.ip_network(word)
    except ValueError as error:
        raise WrongValueError(
            "must be a list of IP addresses and networks",
            hint='write ["10.1.2.3", "10.1.2.0/24"]; a network has no bits behind its prefix',
        ) from error
