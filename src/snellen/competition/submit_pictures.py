"""Model + folder or archive of pictures + sample -> a checked submission, without the training data."""

import csv
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from snellen.competition.lines import Answer
from snellen.competition.submission import check_lines
from snellen.errors import DataError, first_few
from snellen.prediction.ensemble import classify_by_all, rule_for_pictures
from snellen.prediction.opening import Model, doubt_of, members
from snellen.sources.answers import decide_task
from snellen.sources.archives import Contents, Folder
from snellen.sources.decode import UnreadablePicture, is_picture
from snellen.sources.forms import SampleLines
from snellen.sources.lookup import Lookup, id_column
from snellen.sources.source_files import Place, gather, read_pictures, read_whole
from snellen.sources.tables import MAX_BYTES, Table, read_table
from snellen.sources.task_options import TaskOptions
from snellen.system import files
from snellen.system.progress import Progress
from snellen.system.targets import check_file
from snellen.task import Task

log = logging.getLogger("snellen")
AT_ONCE = 512  # pictures in memory


def submit_pictures(
    model: Model | Sequence[Model],
    source: str | Path,
    sample: str | Path,
    out: str | Path = "submission.csv",
    *,
    views: int | None = None,
    precision: str | None = None,
    device: str | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Classify the pictures listed in a sample submission, write the submission, and check every line.

    source: a folder or archive with these pictures; others are ignored. The form of a line is that of the model's
    Task, unless the sample has class columns or probabilities. Raises DataError if the sample does not match the model;
    then nothing is written.
    """
    sample, out = Path(sample), Path(out)
    models = members(model)
    first = models[0][1]
    table, data = _read_sample(sample)
    rule = rule_for_pictures(model, models)
    with tempfile.TemporaryDirectory() as scratch:
        held = gather(Path(source), scratch=Path(scratch))
        pictures = Lookup(name for name in held if is_picture(name))
        column = id_column(table, pictures.find)
        ids = table.column(column)[1:]
        task = _task(first.task, SampleLines.of(read_table(str(sample), data), column, 1))
        answer = Answer(task, table.lines[0][1], column)
        _check_out(out, data, answer, ids, source=Path(source))
        id_of = _pictures_of(ids, pictures, source)
        values: dict[str, list[str]] = {}
        for chunk in _chunks(read_pictures(held, id_of)):
            readable = [(name, picture) for name, picture in chunk if not isinstance(picture, UnreadablePicture)]
            for one in (
                classify_by_all(models, readable, rule, views=views, precision=precision, device=device)
                if readable
                else []
            ):
                if one.probabilities is not None:
                    labels = one.labels(first.classes)  # by the decision rule
                    values[id_of[one.name]] = answer.values(one.probabilities, labels)
            if on_progress:
                on_progress("classify", len(values), len(id_of))
    _fill_unread(values, ids, answer)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answer.header)
    writer.writerows(answer.line(id, values[id]) for id in ids)
    num = check_lines(text.getvalue(), out, answer, ids)
    files.write_text(out, text.getvalue())
    log.info("%d lines, checked against the sample", num)
    if doubt := doubt_of(model, models):
        log.warning("before you submit: %s", doubt)
    return out


def _read_sample(sample: Path) -> tuple[Table, bytes]:
    """Return the sample as a table, and its bytes. Raises DataError if it cannot be read."""
    if not sample.is_file():
        raise DataError(
            f'"{sample}" does not exist or is not a file.',
            where="--sample",
            expected="the competition's sample submission (CSV)",
        )
    data = read_whole({"sample": Place(Folder(sample.parent), sample.name)}, ["sample"], MAX_BYTES)["sample"]
    table = read_table(str(sample), data, strip=False)
    table.check_width()
    return table, data


def _check_out(out: Path, sample: bytes, answer: Answer, ids: list[str], *, source: Path) -> None:
    """Raise DataError if `out` is a file that is not a submission for this sample."""

    def is_submission(path: Path) -> bool:
        try:
            data = path.read_bytes()
            return data != sample and check_lines(data.decode(), path, answer, ids) > 0
        except (DataError, UnicodeDecodeError):
            return False

    check_file(out, "a submission for this sample", is_submission, source=source if source.is_dir() else None)


def _pictures_of(ids: Sequence[str], pictures: Lookup, source: str | Path) -> dict[str, str]:
    """Return the id of each picture that the sample lists, by path. Raises DataError unless each id has one picture."""
    found = {id: pictures.find(id.strip()) for id in ids}
    if odd := [id for id, paths in found.items() if len(paths) != 1]:
        raise DataError(
            f"{len(odd):,} of {len(ids):,} ids in the sample have no picture or more than one, first {first_few(odd)}.",
            where=str(source),
            expected=f"pictures such as {odd[0]}.png",
            do="check the folder or archive: it must contain each test picture once",
        )
    if others := sum(map(len, pictures.by_stem.values())) - len(found):
        log.info("%d other pictures are not in the sample", others)
    return {paths[0]: id for id, paths in found.items()}


def _fill_unread(values: dict[str, list[str]], ids: Sequence[str], answer: Answer) -> None:
    """Give pictures that could not be read the same probability for each class, and warn."""
    unread = [id for id in ids if id not in values]
    task = answer.task
    usual = () if task.has_several and task.allows_none else task.classes[:1]
    for id in unread:
        values[id] = answer.values(np.full(len(task.classes), 1 / len(task.classes)), usual)
    if unread:
        log.warning("%d pictures could not be read; their lines have the same probability for each class", len(unread))


def _task(task: Task, sample: SampleLines) -> Task:
    """Return the model's Task with the form of this sample. Raises DataError if they contradict each other."""
    form = None if task.form == "label" else task.form
    options = TaskOptions(form=form, metric=task.metric, positive=task.positive)
    decided = decide_task([], task.classes, sample, options, kind=task.kind)
    return replace(task, form=decided.form, positive=decided.positive)


def _chunks(pictures: Iterable[tuple[str, Contents]]) -> Iterator[list[tuple[str, Contents]]]:
    chunk: list[tuple[str, Contents]] = []
    for pair in pictures:
        chunk.append(pair)
        if len(chunk) == AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
