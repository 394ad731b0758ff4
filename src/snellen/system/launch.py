"""Start a command in several processes on this machine, with torch's elastic agent (the engine of torchrun)."""

import logging
import os
import signal
import sys
import tempfile

import torch

from snellen.errors import RunError, SnellenError
from snellen.system.group import LAUNCHER

log = logging.getLogger("snellen")

NAME = "snellen"  # the agent's name for the group: identifies processes that `launch` started, not torchrun


def count_devices(devices: str, device: str | None) -> int:
    """Return the number of processes for --devices: a given number, or one per GPU for "all" (1 if there is no GPU).

    Raises RunError for more processes than GPUs.
    """
    num_gpus = torch.cuda.device_count() if device in (None, "cuda") else 0
    if devices == "all":
        return max(1, num_gpus)
    num = int(devices) if devices.isascii() and devices.isdigit() else 0
    if num < 1 or 0 < num_gpus < num:
        raise RunError(
            f'"{devices}" is not a possible number of devices.',
            where=f"--devices {devices}",
            expected=f"all, or a number from 1{f' to {num_gpus}, the GPUs of this machine' if num_gpus else ''}",
            do="use --devices all, or add --device cpu to share the processor",
        )
    return num


def launch(num: int, arguments: list[str]) -> None:
    """Run `snellen ARGUMENTS` in `num` processes that train together, and wait for all of them.

    If one fails, the agent stops the others; they also stop if this process is killed. Raises the error of the process
    that failed.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it logs 30 lines for each failure
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // num)))
    os.environ[LAUNCHER] = str(os.getpid())
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
            # -P: a file in the current folder, such as numpy.py, must not be imported as a module.
            elastic_launch(config, sys.executable)("-P", "-m", "snellen", *arguments)
        except ChildFailedError as problem:
            raise _cause(problem.failures, num) from None
        except SignalException as stop:
            if stop.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            sys.exit(128 + stop.sigval)


def _cause(failures: dict, num: int) -> SnellenError:
    """Return the error to report: the cause, not the lost connections that follow from it in other processes."""
    for rank, failure in sorted(failures.items()):
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:  # SIGTERM: stopped by the agent
            return RunError(
                f"process {rank} of {num} was killed ({failure.signal_name()}), so all were stopped.",
                do="run the same command again to resume from the last checkpoint. If you did not kill it, memory "
                "probably ran out: use fewer processes or a smaller piece_size",
            )
    left = {rank: failure.message for rank, failure in sorted(failures.items()) if isinstance(failure.message, dict)}
    for message in left.values():
        kind, _, text = message["message"].partition(": ")
        if kind in _names(SnellenError):
            return SnellenError(text)
    for rank, message in left.items():
        log.error("%s", message["extraInfo"]["py_callstack"])
        return RunError(f"process {rank} of {num} failed: {message['message']}")
    codes = ", ".join(f"process {rank}: {failure.exitcode}" for rank, failure in sorted(failures.items()))
    return RunError(f"a process ended early, so all were stopped (exit codes: {codes}).")


def _names(error: type[SnellenError]) -> set[str]:
    """Return the names of an error class and all its subclasses."""
    return {error.__name__}.union(*map(_names, error.__subclasses__()))


def left_for_launcher(problem: BaseException) -> bool:
    """Record an error for `launch` to report; return False if `launch` did not start this process."""
    if os.environ.get("TORCHELASTIC_RUN_ID") != NAME:
        return False
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(problem)
    return True
