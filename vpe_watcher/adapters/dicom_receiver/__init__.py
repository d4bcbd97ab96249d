"""The C-STORE receiver: who may send, and one answer for each instance that is sent.

Owns the network side on pynetdicom, which is imported with this package: import it late. Hands the
bytes on as they come, in constant memory, and never decodes, names or stores them itself.
"""

from vpe_watcher.adapters.dicom_receiver.arriving import Delivery, Draft
from vpe_watcher.adapters.dicom_receiver.receiver import Log, Options, Receiver
from vpe_watcher.adapters.dicom_receiver.server import check_address

__all__ = ["Delivery", "Draft", "Log", "Options", "Receiver", "check_address"]
