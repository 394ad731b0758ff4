"""The web page under load, on loopback: start-up, latency, throughput, memory, slow uploads, the stop.

    python benchmarks/serve.py load [--seconds 5]              p50, p99, requests/s and processor time, 1 to 32 clients
    python benchmarks/serve.py start FOLDER                     a server in the background; seconds until it is ready
    python benchmarks/serve.py drive FOLDER --requests 20000    that many requests to it; its memory before and after
    python benchmarks/serve.py stop FOLDER                      SIGTERM while pictures arrive: all of them are answered
    python benchmarks/serve.py slow FOLDER --clients 200        uploads of a byte per second are cut off

The model is small and untrained (16 pixels): this measures the server, not a network. Clients and server share the
processors they are given.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from snellen.models.classifier import Classifier, build_network
from snellen.models.model_file import save_model

PATIENCE = 2  # seconds
CODE = (
    "import sys\nfrom snellen.serving.serve import serve\nimport torch\ntorch.set_num_threads(1)\n"
    f"serve(sys.argv[1], port=0, patience={PATIENCE}, on_ready=lambda url: print(url, flush=True))\n"
)
MIX = ("page", "static", "model", "picture")


def start(folder: Path) -> None:
    """Start a server that outlives this process; folder/server.json holds its process id and port."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = Classifier("cifar_resnet8_v1", build_network("cifar_resnet8_v1", 10), tuple("abcdefghij"), (16, 16)).eval()
    save_model(folder / "model.safetensors", model, recipe={"precision": "float32", "views": 1})
    with open(folder / "said.txt", "w") as said, open(folder / "errors.txt", "w") as errors:
        command = [sys.executable, "-c", CODE, folder / "model.safetensors"]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=errors, start_new_session=True)
    while not (url := (folder / "said.txt").read_text().strip()):
        assert process.poll() is None, (folder / "errors.txt").read_text()
        time.sleep(0.01)
    print(f"ready after {time.perf_counter() - started:.2f} s, {memory(process.pid):.1f} MB")
    port = int(url.rstrip("/").rpartition(":")[2])
    (folder / "server.json").write_text(json.dumps({"pid": process.pid, "port": port, "done": 0}))
    print(url)


def server(folder: Path) -> dict[str, int]:
    return json.loads((folder / "server.json").read_text())


def requests() -> dict[str, bytes]:
    """Return the bytes of each kind of request."""
    path = Path(tempfile.mkdtemp()) / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    picture, host = path.read_bytes(), b" HTTP/1.1\r\nHost: localhost\r\n"
    head = b"POST /api/classify?top=1" + host + b"Content-Length: %d\r\n\r\n" % len(picture)
    files = {"page": b"", "static": b"app.js", "model": b"api/model"}
    return {name: b"GET /" + file + host + b"\r\n" for name, file in files.items()} | {"picture": head + picture}


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """Return the status of one answer, read to its end."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return int(head.split(b" ", 2)[1])


async def clients(port: int, num: int, kinds: tuple[str, ...], stop: asyncio.Event, most: int) -> tuple[list, Counter]:
    """Let `num` clients send requests until `stop`, `most` in all. Return the seconds of each, and the statuses."""
    took, statuses, left, known = [], Counter(), most, requests()

    async def one(offset: int) -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        count = offset
        while not stop.is_set() and left > 0:
            left -= 1
            started = time.perf_counter()
            statuses[await ask(reader, writer, known[kinds[count % len(kinds)]])] += 1
            took.append(time.perf_counter() - started)
            count += 1
        writer.close()

    await asyncio.gather(*(one(offset) for offset in range(num)))
    return took, statuses


async def load(pid: int, port: int, seconds: float) -> None:
    for kinds in (("page",), ("model",), ("picture",), MIX):
        for num in (1, 8, 32):
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(seconds, stop.set)
            started, before = time.perf_counter(), cpu_seconds(pid)
            took, statuses = await clients(port, num, kinds, stop, 10**9)
            rate = len(took) / (time.perf_counter() - started)
            cpu = 1000 * (cpu_seconds(pid) - before) / len(took)
            p50, p99 = (1000 * float(np.quantile(took, share)) for share in (0.5, 0.99))
            name = kinds[0] if len(kinds) == 1 else "mixed"
            print(
                f"{name:8} {num:3} clients: p50 {p50:7.2f} ms, p99 {p99:7.2f} ms, {rate:7.0f}/s, "
                f"{cpu:6.3f} ms of the server's processor time each, {dict(statuses)}"
            )


def cpu_seconds(pid: int) -> float:
    """Return the processor time that the process has used; it is steady even if other work shares the machine."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Return the MB that the process holds."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def drive(folder: Path, most: int, seconds: float) -> None:
    facts = server(folder)
    before = memory(facts["pid"])

    async def run() -> Counter:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, stop.set)
        return (await clients(facts["port"], 8, MIX, stop, most))[1]

    statuses = asyncio.run(run())
    facts["done"] += statuses.total()
    (folder / "server.json").write_text(json.dumps(facts))
    files = len(os.listdir(f"/proc/{facts['pid']}/fd"))
    print(f"{facts['done']:,} requests so far; this time {dict(statuses)}; {before:.1f} -> ", end="")
    print(f"{memory(facts['pid']):.1f} MB, {files} open files")


async def slow(port: int, num: int) -> None:
    """Upload pictures at a byte per second, while one client works as usual."""
    known = requests()
    lasted: list[float] = []

    async def upload() -> None:
        started = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head, _, picture = known["picture"].partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        try:
            for byte in picture:
                await asyncio.sleep(1)
                writer.write(bytes([byte]))
                await writer.drain()
                if reader.at_eof():
                    break
        except OSError:  # cut off in the middle of a byte
            pass
        lasted.append(time.perf_counter() - started)
        writer.close()

    uploads = [asyncio.ensure_future(upload()) for _ in range(num)]
    await asyncio.sleep(0.5)
    took, statuses = await clients(port, 1, ("picture",), asyncio.Event(), 100)
    await asyncio.gather(*uploads)
    print(f"{num} slow uploads were cut off after {min(lasted):.1f} to {max(lasted):.1f} s (patience {PATIENCE} s);")
    print(f"100 requests beside them: p50 {1000 * statistics.median(took):.1f} ms, {dict(statuses)}")


def stop(folder: Path) -> None:
    """Send SIGTERM while 16 pictures arrive; each must be answered, and the process must end."""
    facts = server(folder)
    pid = facts["pid"]

    async def run() -> list[int]:
        request = requests()["picture"]
        connections = [await asyncio.open_connection("127.0.0.1", facts["port"]) for _ in range(16)]
        for _, writer in connections:
            writer.write(request[:-10])
        await asyncio.sleep(0.3)
        os.kill(pid, signal.SIGTERM)
        await asyncio.sleep(0.3)
        return await asyncio.gather(*(ask(reader, writer, request[-10:]) for reader, writer in connections))

    statuses = asyncio.run(run())
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    print(f"after SIGTERM: {dict(Counter(statuses))}; ended: {not Path(f'/proc/{pid}').exists()}")
    print((folder / "errors.txt").read_text(), end="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("load", "start", "drive", "slow", "stop"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=200)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="snellen-serve-"))
    if options.what in ("load", "start"):
        start(folder)
    if options.what == "load":
        try:
            asyncio.run(load(server(folder)["pid"], server(folder)["port"], options.seconds or 5))
        finally:
            os.kill(server(folder)["pid"], signal.SIGTERM)
    elif options.what == "drive":
        drive(folder, options.requests, options.seconds or 100)
    elif options.what == "slow":
        asyncio.run(slow(server(folder)["port"], options.clients))
    elif options.what == "stop":
        stop(folder)


if __name__ == "__main__":
    main()
