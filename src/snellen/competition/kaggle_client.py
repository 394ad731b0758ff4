"""Kaggle's own client, signed in, and what its refusals mean. Imported only where the extra is used."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from snellen.errors import SnellenError, did_you_mean

SITE = "https://www.kaggle.com"
TIMEOUT = (10, 60)  # seconds to connect, and without a byte; by itself the client would wait for ever


class KaggleError(SnellenError):
    """Kaggle refused, or could not be asked."""


@contextlib.contextmanager
def signed_in() -> Iterator[Any]:
    """Kaggle's client. Raises KaggleError without the extra or a token."""
    try:
        from kagglehub.config import get_kaggle_credentials
        from kagglesdk import KaggleClient
        from requests.adapters import HTTPAdapter
    except ImportError:
        raise KaggleError(
            "Kaggle's client libraries are not installed.", do='install them: pip install "snellen[kaggle]"'
        ) from None

    class Patient(HTTPAdapter):
        def send(self, *arguments: Any, **options: Any):
            return super().send(*arguments, **options | {"timeout": options.get("timeout") or TIMEOUT})

    try:
        credentials = get_kaggle_credentials()  # kagglehub's, for it knows every place: Colab's secrets too
    except ValueError as problem:
        raise _no_token(f"the Kaggle token cannot be read: {problem}.") from None
    if credentials is None:
        raise _no_token("there is no Kaggle token on this machine.")
    with KaggleClient(
        username=credentials.username, password=credentials.key, api_token=credentials.api_key, user_agent="snellen"
    ) as client:
        for scheme in ("https://", "http://"):
            client.http_client()._session.mount(scheme, Patient(max_retries=2))  # of connecting only
        yield client


@contextlib.contextmanager
def explained(client: Any, competition: str) -> Iterator[None]:
    """Turn what goes wrong between here and Kaggle into a KaggleError that says why and what to do."""
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
        return KaggleError(f"Kaggle has trouble of its own (error {status}).", where=competition, do="try again later")
    # A wrong name, rules not accepted and a used-up limit are all 400 or 403: only asking further tells which it is.
    refusal = None
    with contextlib.suppress(RequestException):
        refusal = _closed(client, competition) or _used_up(client, competition)
    return refusal or KaggleError(
        f"Kaggle refuses: {_words(problem.response)} (error {status}).",
        where=competition,
        do=f"see {SITE}/competitions/{competition}",
    )


def _closed(client: Any, competition: str) -> KaggleError | None:
    """Why this account cannot take part: no such competition, rules not accepted, or no uploads there."""
    from kagglesdk.competitions.types.competition_api_service import (
        ApiGetCompetitionRequest,
        ApiListCompetitionsRequest,
    )
    from requests import HTTPError

    api, page = client.competitions.competition_api_client, f"{SITE}/competitions/{competition}"
    request = ApiGetCompetitionRequest()
    request.competition_name = competition
    try:
        found = api.get_competition(request)
    except HTTPError as problem:
        if problem.response is None or problem.response.status_code not in (403, 404):
            raise
        search = ApiListCompetitionsRequest()
        search.search = competition
        names = [known.ref.rstrip("/").rpartition("/")[2] for known in api.list_competitions(search).competitions]
        return KaggleError(
            f'there is no competition "{competition}", or not for this account.',
            where=page,
            expected=f"the last part of its address, for example cifar-10 of {SITE}/c/cifar-10",
            do=did_you_mean(competition, names, "copy it from the browser"),
        )
    if not found.user_has_entered:
        return KaggleError(
            f"this account has not accepted the rules of {competition}.",
            where=page,
            expected="a person who joined the competition",
            do=f"accept them at {page}/rules, then run the same command again",
        )
    if found.submissions_disabled or found.is_kernels_submissions_only:
        how = "takes submissions from notebooks on Kaggle only" if found.is_kernels_submissions_only else "is closed"
        return KaggleError(f"{competition} {how}.", where=page, do="see its page")
    return None


def _used_up(client: Any, competition: str) -> KaggleError | None:
    """Whether the team's submissions are used up, for today or for good."""
    from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionLimitsRequest

    request = ApiGetSubmissionLimitsRequest()
    request.competition_name = competition
    limits = client.competitions.competition_api_client.get_submission_limits(request)
    # Of an account without a team all three are 0: it has used up nothing.
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
    """For a failure below HTTP. The exceptions' own texts are Python objects in brackets, so their kind has to do."""
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
    """What the answer says, in one line that a terminal can show."""
    try:
        text = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = response.reason or "no reason is given"
    return "".join(c for c in " ".join(text.split())[:300] if c.isprintable()).rstrip(".")
