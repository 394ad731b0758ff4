"""Start a command in several processes on this machine, with torch's elastic agent, the engine of torchrun."""

import logging
import os
import signal
import sys
import tempfile

import torch

from snellen.errors import RunError, SnellenError

log = logging.getLogger("snellen")

NAME = "snellen"  # the agent's name for the group; says to a process that we, not torchrun, have started it


def count_devices(devices: str, device: str | None) -> int:
    """How many processes --devices means: a number, or "all" the GPUs; 1 where there is none.

    Raises RunError for more processes than GPUs.
    """
    num_gpus = torch.cuda.device_count() if device in (None, "cuda") else 0
    if devices == "all":
        return max(1, num_gpus)
    num = int(devices) if devices.isascii() and devices.isdigit() else 0
    if num < 1 or 0 < num_gpus < num:
        raise RunError(
            f'"{devices}" is not a number of devices here.',
            where=f"--devices {devices}",
            expected=f"all, or a number from 1{f' to {num_gpus}, the GPUs of this machine' if num_gpus else ''}",
            do="take --devices all, or add --device cpu to share the processor",
        )
    return num


def launch(num: int, arguments: list[str]) -> None:
    """Run `snellen ARGUMENTS` in `num` processes that know of each other, and wait for all.

    When one fails the agent ends the others. Raises the failed process's own message.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it tells each failure in 30 lines
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // num)))
    with tempfile.TemporaryDirectory(prefix="snellen-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=num,
            run_id=NAME,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "snellen", *arguments)
        except ChildFailedError as problem:
            raise _told(problem.failures, num) from None
        except SignalException as stop:
            if stop.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            sys.exit(128 + stop.sigval)


def _told(failures: dict, num: int) -> SnellenError:
    """The cause among what the processes left: one lost connection is the echo of another's end."""
    for rank, failure in sorted(failures.items()):
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:  # SIGTERM: ended by the agent
            return RunError(
                f"process {rank} of {num} was killed ({failure.signal_name()}), so all were stopped.",
                do="run the same command again: it goes on from the last checkpoint. Where nobody killed it, memory "
                "ran out: take fewer processes or a smaller piece_size",
            )
    left = {rank: failure.message for rank, failure in sorted(failures.items()) if isinstance(failure.message, dict)}
    for message in left.values():
        kind, _, text = message["message"].partition(": ")
        known: list[type[SnellenError]] = [SnellenError, *SnellenError.__subclasses__()]
        if kind in {error.__name__ for error in known}:
            return SnellenError(text)
    for rank, message in left.items():
        log.error("%s", message["extraInfo"]["py_callstack"])
        return RunError(f"process {rank} of {num} failed: {message['message']}")
    codes = ", ".join(f"process {rank}: {failure.exitcode}" for rank, failure in sorted(failures.items()))
    return RunError(f"a process ended early, so all were stopped (exit codes: {codes}).")


def left_for_launcher(problem: BaseException) -> bool:
    """Leave an error where `launch` finds it, to be told once; False where `launch` has not started this process."""
    if os.environ.get("TORCHELASTIC_RUN_ID") != NAME:
        return False
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(problem)
    return True
