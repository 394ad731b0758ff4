"""The little that several processes need, on top of torch.distributed (gloo between processors, NCCL between GPUs).

Every process draws the order and the changes of the whole batch, computes its share of the rows, and then the gradients
are summed: each makes the same update (training/pieces.py, training/synchronize.py).
Torchrun says who takes part, through the environment. Without it there is one process, and all of this does nothing.
"""

import contextlib
import logging
import os
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

log = logging.getLogger("snellen")


def rank() -> int:
    """Which of the joined processes this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes have joined, on all machines."""
    return dist.get_world_size() if dist.is_initialized() else 1


def device_here(device: str | None) -> str | None:
    """`device`, or this process's own where there are several processes. Raises RunError for one they cannot share."""
    if size() == 1:
        return device
    return device_of(int(os.environ["LOCAL_RANK"]), device, torch.cuda.device_count())


def device_of(local_rank: int, device: str | None, num_gpus: int) -> str:
    """The device of one of several processes: a GPU each where the machine has any, unless `device` is "cpu".

    local_rank: which of the processes on its machine it is. Raises RunError for other devices, and for too few GPUs.
    """
    kind = device or ("cuda" if num_gpus else "cpu")
    if kind == "cpu":
        return kind
    if kind != "cuda":
        raise RunError(
            f'several processes cannot share the device "{kind}".',
            where=f"--device {kind}",
            expected="cuda, for which each takes a GPU of its own, or cpu",
            do="leave --device out, or start one process",
        )
    if local_rank >= num_gpus:
        raise RunError(
            f"process {local_rank + 1} of this machine has no GPU: there are {num_gpus}.",
            expected="a GPU for each process",
            do="start fewer processes on this machine, or add --device cpu",
        )
    return f"cuda:{local_rank}"


def backend_of(device: str) -> str:
    """How the processes that compute on such devices talk to each other, as torch names it.

    On GPUs one backend for each kind of tensor: scores and files are exchanged where numpy has them.
    """
    return "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"


def is_shared() -> bool:
    """Whether torchrun started this process as one of several, joined yet or not."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1


@contextlib.contextmanager
def joined(device: str | None = None) -> Iterator[None]:
    """Take part in the group of processes that torchrun started, if it did; only the first one tells what happens."""
    if dist.is_initialized() or not is_shared():
        yield
        return
    mine = device_of(int(os.environ["LOCAL_RANK"]), device, torch.cuda.device_count())
    if mine != "cpu":
        torch.cuda.set_device(mine)  # or every process would also open the first GPU
    store, rank_here, num = next(rendezvous("env://"))
    dist.init_process_group(backend_of(mine), store=_unwritten(store, rank_here, num), rank=rank_here, world_size=num)
    level = log.level
    if rank() > 0:
        log.setLevel(logging.ERROR)
    log.info("%d processes share each batch", size())
    yield
    # Not after an error: the others may wait for this process in the middle of a sum, and the end would wait for them.
    log.setLevel(level)
    # Nobody may take the connections down while another still uses them. A sum, as torch's barrier would wait on the
    # device that is current, and by gloo, as the processors have to wait and not their GPUs.
    dist.all_reduce(torch.zeros(1))
    dist.destroy_process_group()


def _unwritten(store: dist.Store, rank: int, num: int) -> dist.Store:
    """The part of torchrun's store that belongs to this start of the processes.

    Torchrun 2.13 keeps one store over restarts, in which the processes of one start find the addresses of those before.
    So the first process makes up a name, and answers whoever asks under a name of its own until all have it: what is
    left of other starts is then neither asked nor answered.
    """
    if rank > 0:
        question = secrets.token_hex(8)
        store.set(f"question of {rank}", question)
        name = store.get(f"answer to {question}").decode()  # waits for it
        store.set(f"{rank} knows {name}", "")
        return dist.PrefixStore(name, store)
    name = secrets.token_hex(8)
    patience = store.timeout.total_seconds()  # type: ignore[attr-defined]  # there, but not in its stub
    missing, deadline = set(range(1, num)), time.monotonic() + patience
    while missing and time.monotonic() < deadline:  # later, the others' failure to connect is the message
        for other in missing:
            if store.check([f"question of {other}"]):
                store.set(f"answer to {store.get(f'question of {other}').decode()}", name)
        time.sleep(0.01)
        missing = {other for other in missing if not store.check([f"{other} knows {name}"])}
    return dist.PrefixStore(name, store)


def once(function: Callable, *arguments: Any, **named: Any) -> None:
    """Call `function` in the first process only: it alone writes files."""
    if rank() == 0:
        function(*arguments, **named)


def in_first(context: contextlib.AbstractContextManager) -> contextlib.AbstractContextManager:
    """`context` in the first process, one that does nothing in the others."""
    return context if rank() == 0 else contextlib.nullcontext()


def part_of(num: int) -> tuple[int, int]:
    """(start, stop): the rows out of `num` that this process takes; every row belongs to one process."""
    return num * rank() // size(), num * (rank() + 1) // size()


def collect(totals: Tensor) -> None:
    """Add the others' totals to the first process's and set theirs to zero. Nobody waits for the values."""
    if size() == 1:
        return
    dist.reduce(totals, 0)
    keep_in_first(totals)


def keep_in_first(totals: Tensor) -> None:
    """Set the totals of all other processes to zero, so that nothing counts twice."""
    if rank() > 0:
        totals.zero_()


def tell_all(values: Tensor) -> Tensor:
    """The first process's values, in all of them."""
    if size() > 1:
        dist.broadcast(values, 0)
    return values


def gather_rows(found: np.ndarray) -> np.ndarray:
    """Fill in the rows that other processes computed. found: float32 (N, ...), zero outside `part_of(N)`."""
    if size() > 1:
        dist.all_reduce(torch.from_numpy(found))  # a sum with zeros: exact, each row counts once
    return found


def same_everywhere(text: str, what: str) -> None:
    """Raise DataError in each process whose text is not the first one's."""
    if size() == 1:
        return
    first = _tell_bytes(text.encode())
    if first != text.encode():
        raise DataError(
            f"process {rank()} found {what} other than those of process 0.",
            expected="the same on every machine",
            do="copy the prepared folder to every machine, or put it where all can read it",
        )


def first_says(fact: bool) -> bool:
    """The first process's answer."""
    return bool(tell_all(torch.tensor(int(fact))))


@contextlib.contextmanager
def copy_of(path: Path) -> Iterator[Path]:
    """The first process's file, or a path where there is none: machines need not share the disk that it is on."""
    if size() == 1:
        yield path
        return
    data = _tell_bytes(path.read_bytes() if rank() == 0 and path.exists() else b"")
    with tempfile.TemporaryDirectory() as folder:
        copy = path if rank() == 0 else Path(folder) / path.name
        if data and rank() > 0:
            copy.write_bytes(data)
        yield copy


def _tell_bytes(data: bytes) -> bytes:
    length = tell_all(torch.tensor(len(data)))
    values = torch.empty(int(length), dtype=torch.uint8)
    if rank() == 0:
        values = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())
    return tell_all(values).numpy().tobytes()
