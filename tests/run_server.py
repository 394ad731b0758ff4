"""Run `serve` as a process of its own on loopback, and ask it."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import snellen


@dataclass
class Server:
    process: subprocess.Popen
    port: int
    folder: Path  # where it runs and where its temporary files would go

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str):
        """Return (status, headers, JSON value or bytes) of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            return read(connection.getresponse())

    def raw(self, *parts: bytes):
        """Send these bytes unchanged, and read one answer."""
        with self.connect() as sock:
            for part in parts:
                sock.sendall(part)
            return answer_of(sock)

    def memory(self, line: str = "VmRSS") -> int:
        """Return the bytes that it holds, or with "VmHWM" the most that it has held since `forget_peak`."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return 1024 * next(int(text.split()[1]) for text in lines if text.startswith(line))

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    @property
    def log(self) -> str:
        return self.folder.with_suffix(".log").read_text()


def read(response: http.client.HTTPResponse):
    content = response.read()
    is_json = response.getheader("content-type", "").startswith("application/json")
    return response.status, dict(response.getheaders()), json.loads(content) if is_json and content else content


def answer_of(sock: socket.socket):
    response = http.client.HTTPResponse(sock)
    response.begin()
    return read(response)


@contextlib.contextmanager
def running(model: Path, folder: Path, *, max_files: int = 1024, **options):
    """Run a server process; its options are those of `serve`."""
    folder.mkdir()
    code = (
        "import json, resource, sys\nfrom snellen.serving.serve import serve\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({max_files}, {max_files}))\n"
        "serve(sys.argv[1], port=0, on_ready=lambda url: print(url, flush=True), **json.loads(sys.argv[2]))\n"
        "print('stopped', flush=True)"
    )
    package = str(Path(snellen.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": package, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    with open(folder.with_suffix(".log"), "w") as log:  # a file: a full pipe would stop the server
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, str(model), json.dumps(options)],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), folder.with_suffix(".log").read_text()
        yield Server(process, int(url.rstrip("/").rpartition(":")[2]), folder)
        assert process.poll() is None or process.returncode == 0, "the server stopped"
    finally:
        process.kill()
        process.communicate()
