"""Things in a folder that are neither files nor folders: each made by one function."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.flow.house import nifti


def make_link(path: Path) -> None:
    """Make a link to a file of the system."""
    path.symlink_to("/etc/passwd")


def make_folder_link(path: Path) -> None:
    """Make a link to a folder that holds a scan."""
    inbox = next(folder for folder in path.parents if folder.name == "inbox")
    elsewhere = inbox.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "secret.nii").write_bytes(nifti(seed=9))
    path.symlink_to(elsewhere)


def make_dangling_link(path: Path) -> None:
    """Make a link to nothing."""
    path.symlink_to(path.parent / "nothing.nii")


def make_socket(path: Path) -> None:
    """Make a socket that nobody listens on."""
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)


ODD = [make_link, make_folder_link, make_dangling_link, os.mkfifo, make_socket]
