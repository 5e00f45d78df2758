"""Downloads from a real HTTP server: verified, cached, and mirrored in upstream's layout."""

from __future__ import annotations

import functools
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from provisioner.catalogue import Download
from provisioner.errors import ProvisionerError
from provisioner.kube.download import fetch, mirrored
from provisioner.site import Site
from tests import hosts_toml

CONTENT = b"apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PLACE = "raw.githubusercontent.com/metallb/metallb/v0/config/metallb-native.yaml"
DOWNLOAD = Download(f"https://{PLACE}", SHA256)


@dataclass
class Mirror:
    """A directory served over HTTP, and the paths that were requested."""

    folder: Path
    url: str
    requested: list[str] = field(default_factory=list)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    folder = tmp_path / "www"
    (folder / PLACE).parent.mkdir(parents=True)
    (folder / PLACE).write_bytes(CONTENT)
    requested: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            requested.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Mirror(folder, f"http://127.0.0.1:{server.server_port}", requested)
    server.shutdown()
    thread.join()
    server.server_close()


def site_with(tmp_path: Path, mirror: str) -> Site:
    host = hosts_toml.host("one", "192.168.56.10", "control-plane", "worker")
    pool = hosts_toml.pool("p", "192.168.56.200-192.168.56.201")
    return hosts_toml.load(tmp_path, f'{host}{pool}[mirror]\nmanifests = "{mirror}"\n')


def test_a_download_is_cached(tmp_path: Path, mirror: Mirror) -> None:
    site = site_with(tmp_path, mirror.url)
    assert fetch(site, DOWNLOAD) == CONTENT
    assert fetch(site, DOWNLOAD) == CONTENT
    assert mirror.requested == [f"/{PLACE}"]
    assert [path.name for path in (site.state / "cache").iterdir()] == [SHA256], "a partial file remains"


def test_a_cached_file_needs_no_network(tmp_path: Path, mirror: Mirror) -> None:
    fetch(site_with(tmp_path, mirror.url), DOWNLOAD)
    assert fetch(site_with(tmp_path, _unused()), DOWNLOAD) == CONTENT


def test_a_damaged_cache_is_downloaded_again(tmp_path: Path, mirror: Mirror) -> None:
    site = site_with(tmp_path, mirror.url)
    fetch(site, DOWNLOAD)
    (site.state / "cache" / SHA256).write_bytes(CONTENT[:10])
    assert fetch(site, DOWNLOAD) == CONTENT
    assert len(mirror.requested) == 2
    assert (site.state / "cache" / SHA256).read_bytes() == CONTENT


def test_a_file_that_differs_from_its_pin_is_refused_and_not_cached(tmp_path: Path, mirror: Mirror) -> None:
    (mirror.folder / PLACE).write_bytes(CONTENT + b"# tampered with\n")
    site = site_with(tmp_path, mirror.url)
    with pytest.raises(ProvisionerError) as raised:
        fetch(site, DOWNLOAD)
    found = hashlib.sha256(CONTENT + b"# tampered with\n").hexdigest()
    assert raised.value.message == f"{mirror.url}/{PLACE} has SHA-256 {found}, expected {SHA256}"
    assert raised.value.remedy.startswith("nothing was applied; check the mirror")
    assert not (site.state / "cache").exists()


def test_a_server_that_refuses_the_connection(tmp_path: Path) -> None:
    address = _unused()
    with pytest.raises(ProvisionerError) as raised:
        fetch(site_with(tmp_path, address), DOWNLOAD)
    assert raised.value.message.startswith(f"cannot download {address}/{PLACE}: ")
    assert "Connection refused" in raised.value.message
    assert raised.value.remedy == "check this machine's network, or set mirror.manifests in hosts.toml"


def test_a_missing_file(tmp_path: Path, mirror: Mirror) -> None:
    missing = Download("https://github.com/no/such.yaml", SHA256)
    with pytest.raises(ProvisionerError, match=r"cannot download http.*/github\.com/no/such\.yaml: .*not found"):
        fetch(site_with(tmp_path, mirror.url), missing)


def test_a_silent_server_and_a_truncated_response(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        site = site_with(tmp_path, f"http://127.0.0.1:{port}")
        hasty = site.model_copy(update={"cluster": site.cluster.model_copy(update={"timeout_scale": 0.01})})
        with pytest.raises(ProvisionerError, match=r"cannot download .*timed out"):
            fetch(hasty, DOWNLOAD)

        def break_off() -> None:
            listener.accept()[0].close()  # the one that timed out
            peer, _ = listener.accept()
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            peer.close()

        thread = threading.Thread(target=break_off)
        thread.start()
        with pytest.raises(ProvisionerError, match=r"cannot download .*4 bytes read, 996 more expected"):
            fetch(site, DOWNLOAD)
        thread.join()


@pytest.mark.parametrize(
    ("mirror", "expected"),
    [
        ("", "https://raw.githubusercontent.com/a/b.yaml"),
        ("http://192.168.56.2", "http://192.168.56.2/raw.githubusercontent.com/a/b.yaml"),
        ("http://192.168.56.2/base/", "http://192.168.56.2/base/raw.githubusercontent.com/a/b.yaml"),
    ],
)
def test_mirrored(mirror: str, expected: str) -> None:
    assert mirrored("https://raw.githubusercontent.com/a/b.yaml", mirror) == expected


def _unused() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
