"""Names are split as the Engine spells extensions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpe_watcher.formats import KNOWN_EXTENSIONS, split_name


@pytest.mark.parametrize(
    ("name", "stem", "extension"),
    [
        ("scan.dcm", "scan", ".dcm"),
        ("scan.NII.GZ", "scan", ".nii.gz"),
        ("Scan.Zip.gz", "Scan", ".zip.gz"),
        ("upper.final.STL", "upper.final", ".stl"),
        ("upper.stl.gz", "upper.stl.gz", ""),
        ("report.pdf", "report.pdf", ""),
        ("scan", "scan", ""),
        (".dcm", ".dcm", ""),
        (".nii.gz", ".nii.gz", ""),
        ("scan.gz", "scan.gz", ""),
        ("dcm", "dcm", ""),
        ("a.nii.dcm", "a.nii", ".dcm"),
        ("", "", ""),
    ],
)
def test_names_are_split(name: str, stem: str, extension: str) -> None:
    """The longest known extension goes, whatever its case; the rest of the name stays."""
    assert split_name(name) == (stem, extension)


@given(st.text(min_size=1), st.sampled_from(KNOWN_EXTENSIONS))
def test_any_stem_survives(stem: str, extension: str) -> None:
    """Whatever stands before the extension comes back as it was."""
    assert split_name(stem + extension.upper()) == (stem, extension)
