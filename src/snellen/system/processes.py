"""Communication between processes, on top of torch.distributed (gloo between CPUs, NCCL between GPUs).

Every process draws the order and the augmentation of the whole batch and computes its share of the rows. Then the
gradients are summed, and every process makes the same update (training/pieces.py, training/synchronize.py).
The environment defines which processes take part (group.py). A process that works alone does not communicate.
"""

import contextlib
import logging
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from snellen.errors import DataError, RunError
from snellen.system import group

log = logging.getLogger("snellen")


def rank() -> int:
    """Return this process's number among the joined processes, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Return the number of joined processes on all machines."""
    return dist.get_world_size() if dist.is_initialized() else 1


def device_here(device: str | None) -> str | None:
    """Return `device`, or this process's own device if there are several. Raises RunError if they cannot share it."""
    mine = group.member() if size() > 1 else None
    return device_of(mine.local_rank, device, torch.cuda.device_count()) if mine else device


def device_of(local_rank: int, device: str | None, num_gpus: int) -> str:
    """Return the device of one of several processes: its own GPU if the machine has any, unless `device` is "cpu".

    local_rank: the process's number on its machine. Raises RunError for other devices, and for too few GPUs.
    """
    kind = device or ("cuda" if num_gpus else "cpu")
    if kind == "cpu":
        return kind
    if kind != "cuda":
        raise RunError(
            f'several processes cannot share the device "{kind}".',
            where=f"--device {kind}",
            expected="cuda (each process gets its own GPU) or cpu",
            do="omit --device, or start one process",
        )
    if local_rank >= num_gpus:
        raise RunError(
            f"process {local_rank + 1} on this machine has no GPU: there are {num_gpus}.",
            expected="a GPU for each process",
            do="start fewer processes on this machine, or add --device cpu",
        )
    return f"cuda:{local_rank}"


def backend_of(device: str) -> str:
    """Return torch's name for the backends that connect processes on `device`.

    GPUs need two, because scores and files are exchanged in main memory.
    """
    return "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"


def is_shared() -> bool:
    """Return whether this process is one of several, joined yet or not."""
    return group.member() is not None


@contextlib.contextmanager
def joined(device: str | None = None) -> Iterator[None]:
    """Join the other processes for the block, if there are any; only the first one logs what happens."""
    member = group.member()
    if dist.is_initialized() or member is None:
        yield
        return
    mine = device_of(member.local_rank, device, torch.cuda.device_count())
    if mine != "cpu":
        torch.cuda.set_device(mine)  # otherwise every process would also open the first GPU
    store, rank_here, num = next(rendezvous("env://"))
    dist.init_process_group(backend_of(mine), store=_unwritten(store, rank_here, num), rank=rank_here, world_size=num)
    level = log.level
    if rank() > 0:
        log.setLevel(logging.ERROR)
    log.info("%d processes share each batch", size())
    yield
    # Skipped after an error: other processes may be waiting in a sum, and this one would wait for them.
    log.setLevel(level)
    # Connections must stay open while another process uses them, so all processes wait for each other. They do so in a
    # sum, because torch's barrier would wait on the current device, and through gloo, so that CPUs wait, not GPUs.
    dist.all_reduce(torch.zeros(1))
    dist.destroy_process_group()


def _unwritten(store: dist.Store, rank: int, num: int) -> dist.Store:
    """Return the part of torchrun's store that belongs to this start of the processes.

    Torchrun 2.13 keeps one store across restarts, so processes would read the addresses of earlier ones. Therefore the
    first process creates a random name, and every other process requests it under its own key. Entries of other starts
    are never read.
    """
    if rank > 0:
        question = secrets.token_hex(8)
        store.set(f"question of {rank}", question)
        name = store.get(f"answer to {question}").decode()  # waits for it
        store.set(f"{rank} knows {name}", "")
        return dist.PrefixStore(name, store)
    name = secrets.token_hex(8)
    patience = store.timeout.total_seconds()  # type: ignore[attr-defined]  # public, but missing in torch's stub
    missing, deadline = set(range(1, num)), time.monotonic() + patience
    while missing and time.monotonic() < deadline:  # afterwards, the other processes' failure to connect is reported
        for other in missing:
            if store.check([f"question of {other}"]):
                store.set(f"answer to {store.get(f'question of {other}').decode()}", name)
        time.sleep(0.01)
        missing = {other for other in missing if not store.check([f"{other} knows {name}"])}
    return dist.PrefixStore(name, store)


def is_first() -> bool:
    """Return whether this is the first of the joined processes: the only one that writes and reports."""
    return rank() == 0


def once(function: Callable, *arguments: Any, **named: Any) -> None:
    """Call `function` in the first process only."""
    if is_first():
        function(*arguments, **named)


def part_of(num: int) -> tuple[int, int]:
    """Return the range (start, stop) of the `num` rows that this process computes; each row belongs to one process."""
    return num * rank() // size(), num * (rank() + 1) // size()


def collect(totals: Tensor) -> None:
    """Add the other processes' totals to the first one's and set theirs to zero, without waiting for the values."""
    if size() == 1:
        return
    dist.reduce(totals, 0)
    keep_in_first(totals)


def keep_in_first(totals: Tensor) -> None:
    """Set the totals of all processes except the first to zero, so that nothing is counted twice."""
    if rank() > 0:
        totals.zero_()


def broadcast(values: Tensor) -> Tensor:
    """Copy the first process's values to all processes, and return them."""
    if size() > 1:
        dist.broadcast(values, 0)
    return values


def gather_rows(found: np.ndarray) -> np.ndarray:
    """Fill in the rows that other processes computed. found: float32 (N, ...), zero outside `part_of(N)`."""
    if size() > 1:
        dist.all_reduce(torch.from_numpy(found))  # exact: the other terms of each sum are zero
    return found


def check_same(text: str, what: str) -> None:
    """Raise DataError in each process whose text differs from the first one's."""
    if size() == 1:
        return
    first = _broadcast_bytes(text.encode())
    if first != text.encode():
        raise DataError(
            f"process {rank()} has different {what} from process 0.",
            expected="the same on every machine",
            do="copy the prepared folder to every machine, or to a disk that all machines can read",
        )


def answer_of_first(fact: bool) -> bool:
    """Return the first process's value in every process."""
    return bool(broadcast(torch.tensor(int(fact))))


@contextlib.contextmanager
def copy_of(path: Path) -> Iterator[Path]:
    """Yield the path of the first process's file or of a copy, so that machines need not share a disk.

    If the file does not exist, the yielded path does not exist either.
    """
    if size() == 1:
        yield path
        return
    data = _broadcast_bytes(path.read_bytes() if rank() == 0 and path.exists() else b"")
    with tempfile.TemporaryDirectory() as folder:
        copy = path if rank() == 0 else Path(folder) / path.name
        if data and rank() > 0:
            copy.write_bytes(data)
        yield copy


def _broadcast_bytes(data: bytes) -> bytes:
    length = broadcast(torch.tensor(len(data)))
    values = torch.empty(int(length), dtype=torch.uint8)
    if rank() == 0:
        values = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())
    return broadcast(values).numpy().tobytes()
