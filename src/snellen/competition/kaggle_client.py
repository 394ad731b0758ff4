"""A signed-in Kaggle client (an extra), and clear messages for its errors."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from snellen.errors import SnellenError, did_you_mean

Answer = TypeVar("Answer")

SITE = "https://www.kaggle.com"
TIMEOUT = 60  # seconds without a response; the client itself would wait forever


class KaggleError(SnellenError):
    """An error for requests that Kaggle refuses or does not answer."""


@contextlib.contextmanager
def signed_in() -> Iterator[Any]:
    """Yield Kaggle's client. Raises KaggleError if the extra or a token is missing."""
    try:
        from kagglehub.config import get_kaggle_credentials
        from kagglesdk import KaggleClient
    except ImportError:
        raise KaggleError(
            "Kaggle's client libraries are not installed.", do='install them: pip install "snellen[kaggle]"'
        ) from None
    try:
        credentials = get_kaggle_credentials()  # kagglehub looks everywhere, including Colab's secrets
    except ValueError as problem:
        raise _no_token(f"the Kaggle token cannot be read: {problem}.") from None
    if credentials is None:
        raise _no_token("no Kaggle token was found on this machine.")
    with KaggleClient(
        username=credentials.username, password=credentials.key, api_token=credentials.api_key, user_agent="snellen"
    ) as client:
        yield client


def answer(request: Callable[[], Answer]) -> Answer:
    """Return the result of a client's request. Raises requests.Timeout after TIMEOUT seconds."""
    from requests import Timeout

    future: Future[Answer] = Future()

    def work() -> None:
        try:
            future.set_result(request())
        except BaseException as problem:
            future.set_exception(problem)

    threading.Thread(
        target=work, daemon=True
    ).start()  # daemon: a request that never ends must not keep the program alive
    try:
        return future.result(TIMEOUT)
    except TimeoutError:
        raise Timeout from None


@contextlib.contextmanager
def explained(client: Any, competition: str) -> Iterator[None]:
    """Turn connection errors and refusals into a KaggleError with the reason and what to do."""
    from requests import RequestException

    try:
        yield
    except (RequestException, json.JSONDecodeError) as problem:
        raise _explanation(client, competition, problem) from None


def _explanation(client: Any, competition: str, problem: Any) -> KaggleError:
    from requests import RequestException

    if getattr(problem, "response", None) is None:
        return _no_answer(problem)
    status = problem.response.status_code
    if status == 401:
        return _no_token("Kaggle does not accept the token.")
    if status >= 500:
        return KaggleError(f"Kaggle has a problem (error {status}).", where=competition, do="try again later")
    # A wrong name, unaccepted rules and an exhausted limit all give 400 or 403; more requests distinguish them.
    refusal = None
    with contextlib.suppress(RequestException):
        refusal = _closed(client, competition) or _used_up(client, competition)
    return refusal or KaggleError(
        f"Kaggle refused the request: {_words(problem.response)} (error {status}).",
        where=competition,
        do=f"see {SITE}/competitions/{competition}",
    )


def _closed(client: Any, competition: str) -> KaggleError | None:
    """Return why this account cannot submit: unknown competition, rules not accepted, or no uploads; None if it can."""
    from kagglesdk.competitions.types.competition_api_service import (
        ApiGetCompetitionRequest,
        ApiListCompetitionsRequest,
    )
    from requests import HTTPError

    api, page = client.competitions.competition_api_client, f"{SITE}/competitions/{competition}"
    request = ApiGetCompetitionRequest()
    request.competition_name = competition
    try:
        details = answer(lambda: api.get_competition(request))
    except HTTPError as problem:
        if problem.response is None or problem.response.status_code not in (403, 404):
            raise
        search = ApiListCompetitionsRequest()
        search.search = competition
        names = [
            known.ref.rstrip("/").rpartition("/")[2]
            for known in answer(lambda: api.list_competitions(search)).competitions
        ]
        return KaggleError(
            f'the competition "{competition}" does not exist, or this account cannot see it.',
            where=page,
            expected=f"the last part of its address, for example cifar-10 in {SITE}/c/cifar-10",
            do=did_you_mean(competition, names, "copy it from the browser"),
        )
    if not details.user_has_entered:
        return KaggleError(
            f"this account has not accepted the rules of {competition}.",
            where=page,
            expected="an account that has joined the competition",
            do=f"accept them at {page}/rules, then run the same command again",
        )
    if details.submissions_disabled or details.is_kernels_submissions_only:
        how = "accepts submissions only from Kaggle notebooks" if details.is_kernels_submissions_only else "is closed"
        return KaggleError(f"{competition} {how}.", where=page, do="see its page")
    return None


def _used_up(client: Any, competition: str) -> KaggleError | None:
    """Return an error if the team has no submissions left, today or at all."""
    from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionLimitsRequest

    request = ApiGetSubmissionLimitsRequest()
    request.competition_name = competition
    limits = answer(lambda: client.competitions.competition_api_client.get_submission_limits(request))
    # For an account without a team all three are zero, although nothing is used up.
    if limits.num_allowed_now or not limits.num_total:
        return None
    if limits.limited_by_total:
        return KaggleError(
            f"all {limits.num_total} submissions that {competition} allows a team are used up.", where=competition
        )
    return KaggleError(
        f"today's {limits.num_today} submissions to {competition} are used up.",
        where=competition,
        expected="no more submissions a day than the competition allows",
        do="try again after midnight UTC",
    )


def _no_token(what: str) -> KaggleError:
    return KaggleError(
        what,
        expected="KAGGLE_API_TOKEN, ~/.kaggle/access_token or ~/.kaggle/kaggle.json",
        do=f"create one at {SITE}/settings/api and save it as ~/.kaggle/access_token",
    )


def _no_answer(problem: Exception) -> KaggleError:
    """Return the error for a failed connection, by exception class: the exceptions' own texts show Python objects."""
    from requests import exceptions

    kinds = {
        exceptions.SSLError: "its certificate is not trusted on this machine",
        exceptions.ProxyError: "the proxy refuses the connection",
        exceptions.Timeout: "it does not respond",
        exceptions.ChunkedEncodingError: "the connection was lost",
        json.JSONDecodeError: "another server responded in its place",
    }
    why = next((text for kind, text in kinds.items() if isinstance(problem, kind)), "there is no connection")
    return KaggleError(
        f"Kaggle cannot be reached: {why}.", where=SITE, do="check the connection, then run the same command again"
    )


def _words(response: Any) -> str:
    """Return Kaggle's message as one line of printable characters."""
    try:
        text = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = response.reason or "Kaggle gave no reason"
    return "".join(c for c in " ".join(text.split())[:300] if c.isprintable()).rstrip(".")
