"""Runs a command beside the real parts, in a world of its own: `python -m tests.real.inside CMD`.

Owns that world: a mount namespace with the parts laid over `/usr`, a network namespace with nothing
but loopback (two of the servers listen on every address), and a process namespace whose end takes
every server and mount with it, however the command ends. Needs root. The system stays as it was.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from tests.real.fetch_head_ct import fetch_head_ct
from tests.real.packages import PackagesUnavailableError
from tests.real.parts import fetch_parts

INSIDE = "VPE_REAL_PARTS"
UNSHARE = (
    *("unshare", "--mount", "--net", "--ipc", "--pid"),
    *("--fork", "--kill-child", "--mount-proc"),
)
# A tmpfs for /run: what the servers leave there is gone with them.
ENTER = """
set -eu
mount -t overlay overlay -o "lowerdir=$1/usr:/usr" /usr
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
shift
exec "$@"
"""


def main() -> NoReturn:
    """Fetch what is missing, then become the command; exit 1 with one sentence if it cannot be."""
    if os.geteuid() != 0:
        sys.exit("make test-real lays real servers over /usr in a namespace: it needs root.")
    try:
        fetch_head_ct()
        parts = fetch_parts()
    except PackagesUnavailableError as fault:
        sys.exit(str(fault))
    os.environ[INSIDE] = str(parts)
    words = [*UNSHARE, "sh", "-c", ENTER, "inside", str(parts), *sys.argv[1:]]
    os.execvp(words[0], words)  # noqa: S606 - the words are ours


if __name__ == "__main__":
    main()
