"""The records of cases whose folders people see: what `recover` needs beside the documents in them.

They lie in the hidden folder of the same root, one file a case. Nothing but `recover` reads them.
"""

from __future__ import annotations

import json
from pathlib import Path

from vpe_watcher.adapters.files import draft_name
from vpe_watcher.core.model import Case
from vpe_watcher.core.records import rest_record
from vpe_watcher.flow.places import record_in
from vpe_watcher.flow.ports import Ports


def keep_record(case: Case, root: Path, ports: Ports) -> None:
    """Write the record of a case durably, before its folder in this root can be seen."""
    path = record_in(root, case.case_id)
    record = rest_record(case, names_series=ports.rules.names_patients)
    ports.disk.make_folder(path.parent)
    ports.disk.sync_folder(path.parent.parent)  # another step may have made it just now
    ports.disk.write(path, json.dumps(record).encode())


def remove_record(case: Case, root: Path, ports: Ports) -> None:
    """Remove the record of a case from a root for good, and a draft of it; fine when it is gone."""
    path = record_in(root, case.case_id)
    if not ports.disk.exists(path.parent):
        return
    for name in (draft_name(path.name), path.name):
        ports.disk.remove_file(path.with_name(name))
    ports.disk.sync_folder(path.parent)  # an earlier removal may have been cut short before that
