"""The object store says no as S3 does, and takes exactly what was announced."""

from __future__ import annotations

import hashlib
import io
import socket
from urllib.parse import urlsplit

import pytest
import requests

from tests.sandbox.client import Client
from vpe_watcher.sandbox.messages import Request
from vpe_watcher.sandbox.signing import sign


def code_of(answer: requests.Response) -> tuple[int, str]:
    """Return the status and the code in the XML body."""
    return answer.status_code, answer.text.partition("<Code>")[2].partition("</Code>")[0]


def test_upload_is_kept_to_the_byte(client: Client) -> None:
    """The ledger has size and digest of what really arrived, streamed or not."""
    content = bytes(range(256)) * 12_000
    _, upload, _ = client.links()
    assert client.put(upload, io.BytesIO(content)).status_code == 200
    entry = client.sandbox.ledger.as_json()["jobs"][0]["inputs"]["cbct"]
    assert (entry["size"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_authorization_is_refused(client: Client) -> None:
    """A pre-signed URL takes no Authorization header, and the ledger remembers it."""
    _, upload, _ = client.links()
    answer = client.put(upload, headers=client.bearer)
    assert code_of(answer) == (400, "InvalidArgument")
    assert "Only one auth mechanism allowed" in answer.text
    url = client.result(client.run())["outputFiles"]["meshes"][0]["url"]
    assert code_of(client.get(url, client.bearer)) == (400, "InvalidArgument")
    assert client.sandbox.ledger.as_json()["presigned_with_authorization"] == 2


def test_chunked_upload_is_refused(client: Client) -> None:
    """Without Content-Length there is no upload, and the connection stays usable."""
    _, upload, _ = client.links()
    chunked = client.put(upload, iter([b"some ", b"blocks"]))
    assert code_of(chunked) == (411, "MissingContentLength")
    assert client.put(upload).status_code == 200


def test_expired_upload_url(client: Client) -> None:
    """An upload URL is good until its time and not after."""
    client.sandbox.set_options(url_expiry_s=10)
    _, upload, _ = client.links()
    client.clock.now += 9.9
    assert client.put(upload).status_code == 200
    client.clock.now += 0.1
    assert code_of(client.put(upload)) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("Signature=", "Signature=0", "SignatureDoesNotMatch"),
        ("Expires=1", "Expires=2", "SignatureDoesNotMatch"),
        ("cbct.dcm", "cbct.nii", "SignatureDoesNotMatch"),
        ("?", "?nothing#", "AccessDenied"),
    ],
)
def test_tampered_url(client: Client, old: str, new: str, code: str) -> None:
    """Whatever is changed in a pre-signed URL, it is refused and nothing arrives."""
    _, upload, _ = client.links()
    assert code_of(client.put(upload.replace(old, new, 1))) == (403, code)
    assert client.sandbox.ledger.job().inputs["cbct"].uploads == []


def test_method_is_signed(client: Client) -> None:
    """An upload URL cannot be read and a download URL cannot be written."""
    _, upload, _ = client.links()
    assert code_of(client.get(upload)) == (403, "SignatureDoesNotMatch")
    url = client.result(client.run())["outputFiles"]["meshes"][0]["url"]
    assert code_of(client.put(url)) == (403, "SignatureDoesNotMatch")


def test_content_type_is_signed(client: Client) -> None:
    """Another Content-Type than the documented one breaks the signature, unless switched off."""
    _, upload, _ = client.links()
    headers = {"Content-Type": "application/dicom"}
    assert code_of(client.put(upload, headers=headers)) == (403, "SignatureDoesNotMatch")
    client.sandbox.set_options(signed_content_type="")
    assert client.put(upload, headers=headers).status_code == 200


def test_no_such_key(client: Client) -> None:
    """A well signed URL of nothing is a 404."""
    path = "/_store/results/nobody/0.stl"
    link = sign(b"vpe-watcher sandbox", "GET", path, client.clock.now + 10)
    assert code_of(client.get(client.url + link)) == (404, "NoSuchKey")


def test_short_body_is_no_upload(client: Client) -> None:
    """Fewer bytes than announced are a 400 and are thrown away."""
    _, upload, notify = client.links()
    headers = {"content-length": "10", "content-type": "application/octet-stream"}
    answer = client.sandbox.handle(Request("PUT", upload, headers, io.BytesIO(b"short")))
    assert isinstance(answer.body, bytes)
    assert (answer.status, b"IncompleteBody" in answer.body) == (400, True)
    assert client.notify(notify).status_code == 400


@pytest.mark.parametrize("client", ["server"], indirect=True)
def test_connection_that_breaks_while_uploading(client: Client) -> None:
    """A client that goes away in the middle of a body leaves no upload behind."""
    _, upload, _ = client.links()
    parts = urlsplit(upload)
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    head += "Content-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\nabc"
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(100)
    assert client.sandbox.ledger.job().inputs["cbct"].uploads == []


def test_store_may_be_another_host(client: Client) -> None:
    """The option gives pre-signed URLs another origin than the Engine's."""
    client.sandbox.set_options(store_url="https://store.test/")
    _, upload, notify = client.links()
    assert upload.startswith("https://store.test/_store/")
    assert notify.startswith(f"{client.url}/24.06/jobs/")
