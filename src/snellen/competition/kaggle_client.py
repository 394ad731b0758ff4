"""Kaggle's own client, signed in, and what its refusals mean. It comes with an extra."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from snellen.errors import SnellenError, did_you_mean

Answer = TypeVar("Answer")

SITE = "https://www.kaggle.com"
TIMEOUT = 60  # seconds without an answer; the client itself would wait for ever


class KaggleError(SnellenError):
    """Kaggle refused, or could not be reached."""


@contextlib.contextmanager
def signed_in() -> Iterator[Any]:
    """Yield Kaggle's client. Raises KaggleError without the extra or a token."""
    try:
        from kagglehub.config import get_kaggle_credentials
        from kagglesdk import KaggleClient
    except ImportError:
        raise KaggleError(
            "Kaggle's client libraries are not installed.", do='install them: pip install "snellen[kaggle]"'
        ) from None
    try:
        credentials = get_kaggle_credentials()  # kagglehub knows every place, Colab's secrets too
    except ValueError as problem:
        raise _no_token(f"the Kaggle token cannot be read: {problem}.") from None
    if credentials is None:
        raise _no_token("there is no Kaggle token on this machine.")
    with KaggleClient(
        username=credentials.username, password=credentials.key, api_token=credentials.api_key, user_agent="snellen"
    ) as client:
        yield client


def answer(request: Callable[[], Answer]) -> Answer:
    """Return what a request of the client returns. Raises requests.Timeout after TIMEOUT seconds."""
    from requests import Timeout

    future: Future[Answer] = Future()

    def work() -> None:
        try:
            future.set_result(request())
        except BaseException as problem:
            future.set_exception(problem)

    threading.Thread(target=work, daemon=True).start()  # daemon: a request that never ends must not keep the program
    try:
        return future.result(TIMEOUT)
    except TimeoutError:
        raise Timeout from None


@contextlib.contextmanager
def explained(client: Any, competition: str) -> Iterator[None]:
    """Turn errors of the connection and refusals into a KaggleError with the reason and what to do."""
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
    # A wrong name, rules not accepted and a used-up limit are all 400 or 403: further requests tell them apart.
    refusal = None
    with contextlib.suppress(RequestException):
        refusal = _closed(client, competition) or _used_up(client, competition)
    return refusal or KaggleError(
        f"Kaggle refuses: {_words(problem.response)} (error {status}).",
        where=competition,
        do=f"see {SITE}/competitions/{competition}",
    )


def _closed(client: Any, competition: str) -> KaggleError | None:
    """Return why this account cannot take part: no such competition, rules not accepted, or no uploads."""
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
            f'there is no competition "{competition}", or this account may not see it.',
            where=page,
            expected=f"the last part of its address, for example cifar-10 of {SITE}/c/cifar-10",
            do=did_you_mean(competition, names, "copy it from the browser"),
        )
    if not details.user_has_entered:
        return KaggleError(
            f"this account has not accepted the rules of {competition}.",
            where=page,
            expected="an account that joined the competition",
            do=f"accept them at {page}/rules, then run the same command again",
        )
    if details.submissions_disabled or details.is_kernels_submissions_only:
        how = "takes submissions from notebooks on Kaggle only" if details.is_kernels_submissions_only else "is closed"
        return KaggleError(f"{competition} {how}.", where=page, do="see its page")
    return None


def _used_up(client: Any, competition: str) -> KaggleError | None:
    """Return an error if the team's submissions are used up, for today or for good."""
    from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionLimitsRequest

    request = ApiGetSubmissionLimitsRequest()
    request.competition_name = competition
    limits = answer(lambda: client.competitions.competition_api_client.get_submission_limits(request))
    # An account without a team has three zeros, and has used up nothing.
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
    """Return the error for a failure below HTTP, by the class of the exception: its text shows Python objects."""
    from requests import exceptions

    kinds = {
        exceptions.SSLError: "its certificate is not trusted here",
        exceptions.ProxyError: "the proxy does not let it through",
        exceptions.Timeout: "it does not answer",
        exceptions.ChunkedEncodingError: "the connection broke",
        json.JSONDecodeError: "something else answered in its place",
    }
    why = next((text for kind, text in kinds.items() if isinstance(problem, kind)), "there is no connection")
    return KaggleError(
        f"Kaggle cannot be reached: {why}.", where=SITE, do="check the connection, then run the same command again"
    )


def _words(response: Any) -> str:
    """Return Kaggle's message in one line that a terminal can show."""
    try:
        text = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = response.reason or "no reason is given"
    return "".join(c for c in " ".join(text.split())[:300] if c.isprintable()).rstrip(".")
