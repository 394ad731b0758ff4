"""Storage for a study's trials: an SQLite file in its folder, or any database that SQLAlchemy supports."""

import logging
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from snellen.errors import RunError, SnellenError

log = logging.getLogger("snellen")

DATABASE = "study.db"


class Storage(RDBStorage):
    """Optuna's storage, except that a failed heartbeat is skipped and does not stop the later ones."""

    def record_heartbeat(self, trial_id: int) -> None:
        try:
            super().record_heartbeat(trial_id)
        except (SQLAlchemyError, StorageInternalError) as problem:
            log.warning("a heartbeat could not be written to the study's database: %s", problem.__cause__ or problem)


def connected(folder: Path, url: str | None, heartbeat_seconds: int) -> RDBStorage:
    """Return the storage in `folder`, or at a URL, and create its tables if necessary.

    Raises SnellenError if it cannot be used.
    """
    # A new connection for each query: an open one would time out during a long training run.
    engine: dict[str, Any] = {"poolclass": NullPool}
    if url is None:
        # Not a path in a URL, in which some characters are special. Immediate: of two transactions that start by
        # reading, only one could then write.
        engine["creator"] = lambda: sqlite3.connect(
            folder / DATABASE, timeout=60, isolation_level="IMMEDIATE", check_same_thread=False
        )

    def connect() -> RDBStorage:
        return Storage(
            url or "sqlite://",
            engine,
            heartbeat_interval=heartbeat_seconds,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
        )

    try:
        try:
            return connect()
        except (IntegrityError, ProgrammingError):  # another machine is creating the tables right now
            time.sleep(3)
            return connect()
    except ImportError as problem:
        raise SnellenError(
            f"the database's driver is not installed: {problem}.",
            where=f"--storage {without_password(url or '')}",
            do="install it, for example: pip install 'psycopg[binary]' for PostgreSQL, pip install pymysql for MySQL",
        ) from None
    except (SQLAlchemyError, ValueError, RuntimeError) as problem:
        raise refused(problem, folder, url) from None


def refused(problem: BaseException, folder: Path, url: str | None) -> SnellenError:
    """Return the error to raise for a database problem."""
    reason = next(iter(str(problem.__cause__ or problem).splitlines()), type(problem).__name__)
    if url is None:
        return RunError(
            f"the study's database cannot be used: {reason}",
            where=str(folder / DATABASE),
            do="free some space and check the file's permissions; restore a damaged file from a copy, or start again",
        )
    return SnellenError(
        f"the database cannot be used: {reason.replace(url, without_password(url))}",
        where=f"--storage {without_password(url)}",
        expected="a URL such as postgresql+psycopg://user:password@host/database",
        do="check the URL and that the server can be reached; without --storage the study is a file in its folder",
    )


def shown(url: str | None) -> str:
    """Return the location of the trials as stored in study.json."""
    return without_password(url) if url else DATABASE


def without_password(url: str) -> str:
    """Return a URL without its password, safe to display and store."""
    return re.sub(r"(//[^:/@]*):[^/]*@", r"\1:***@", url)
