"""From an open file to a verdict: empty, zero, or what its own format says.

Owns the order of the questions; each format answers for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from vpe_watcher.core.model import Proof, Verdict
from vpe_watcher.formats import archive, compressed, dicom, mesh, nifti, nrrd, ply, vti
from vpe_watcher.formats.blocks import ends_in_zeros, incomplete, no_pulse, read_at, with_pulse
from vpe_watcher.formats.signature import FIRST_BYTES, is_stranger


def examine(
    file: BinaryIO,
    *,
    extension: str,
    size: int,
    pulse: Callable[[], None] = no_pulse,
    closed: bool = False,
) -> Verdict:
    """Judge an open file of `size` bytes by the known `extension` of its name.

    An unknown or empty extension is taken for DICOM: what is none is then "wrong". `pulse` is
    called before each read of at most 1 MiB and may raise to abort. `closed` says that a trusted
    lease knows of no writer: the checksums inside ZIP archives are then left out. Only OSError and
    what `pulse` raises leave. The position of `file` is not kept.
    """
    pulse()
    return _examine(with_pulse(file, pulse), size, extension=extension, closed=closed)


def _examine(file: BinaryIO, size: int, *, extension: str, closed: bool) -> Verdict:
    if size == 0:
        return incomplete("is empty")
    first = read_at(file, 0, FIRST_BYTES)
    if not any(first):
        return incomplete("begins with nothing but zero bytes")
    if extension.endswith(".gz"):
        content = extension.removesuffix(".gz")
        verdict = compressed.prove(
            file, inner=lambda inner, length: _examine_content(inner, length, extension=content)
        )
    else:
        verdict = _prove(file, size, extension=extension, closed=closed)
    if verdict.proof is Proof.WRONG and not is_stranger(first) and ends_in_zeros(file, size):
        return incomplete("begins like nothing known and ends with zero bytes")
    return verdict


def _examine_content(file: BinaryIO, size: int, *, extension: str) -> Verdict:
    if extension == ".zip":
        # The checksums of the GZIP stream vouch for the members; jumping about in it is dear.
        # They do not tell that a stream of several parts ends early: the end record does.
        return archive.prove_end(file, size)
    return _examine(file, size, extension=extension, closed=True)


def _prove(file: BinaryIO, size: int, *, extension: str, closed: bool) -> Verdict:
    provers: dict[str, compressed.Prover] = {
        ".nii": nifti.prove,
        ".nrrd": nrrd.prove,
        ".vti": vti.prove,
        ".stl": mesh.prove_stl,
        ".ply": ply.prove,
        ".obj": mesh.prove_obj,
    }
    if extension == ".zip":
        return archive.prove(file, size, check_crc=not closed)
    return provers.get(extension, dicom.prove)(file, size)
