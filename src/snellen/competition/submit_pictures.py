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
from snellen.prediction.ensemble import classify_by_all
from snellen.prediction.opening import Model, members
from snellen.sources.answers import decide_task
from snellen.sources.archives import Contents, Folder
from snellen.sources.decode import UnreadablePicture, is_picture
from snellen.sources.forms import SampleLines
from snellen.sources.lookup import Lookup, id_column
from snellen.sources.source_files import Place, gather, read_pictures, read_whole
from snellen.sources.tables import MAX_BYTES, read_table
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
    if not sample.is_file():
        raise DataError(
            f'"{sample}" does not exist or is not a file.',
            where="--sample",
            expected="the competition's sample submission (CSV)",
        )
    folder = Folder(sample.parent)
    data = read_whole({"sample": Place(folder, sample.name)}, ["sample"], MAX_BYTES)["sample"]
    table = read_table(str(sample), data, strip=False)
    table.check_width()
    with tempfile.TemporaryDirectory() as scratch:
        held = gather(Path(source), scratch=Path(scratch))
        pictures = Lookup(name for name in held if is_picture(name))
        column = id_column(table, pictures.find)
        ids = table.column(column)[1:]
        task = _task(first.task, SampleLines.of(read_table(str(sample), data), column, 1))
        answer = Answer(task, table.lines[0][1], column)

        def is_submission(path: Path) -> bool:
            try:
                return path.read_bytes() != data and check_lines(path.read_bytes().decode(), path, answer, ids) > 0
            except (DataError, UnicodeDecodeError):
                return False

        raw = Path(source) if Path(source).is_dir() else None
        check_file(out, "a submission for this sample", is_submission, source=raw)
        found = {id: pictures.find(id.strip()) for id in ids}
        if odd := [id for id, paths in found.items() if len(paths) != 1]:
            raise DataError(
                f"{len(odd):,} of {len(ids):,} ids in the sample have no picture or more than one, first "
                f"{first_few(odd)}.",
                where=str(source),
                expected=f"pictures such as {odd[0]}.png",
                do="check the folder or archive: it must contain each test picture once",
            )
        wanted = {paths[0]: id for id, paths in found.items()}
        values: dict[str, list[str]] = {}
        unread = 0
        classes = first.classes
        uniform = np.full(len(classes), 1 / len(classes))
        usual = classes[:1] if not (first.task.has_several and first.task.allows_none) else ()
        for chunk in _chunks(read_pictures(held, wanted)):
            readable = [(name, picture) for name, picture in chunk if not isinstance(picture, UnreadablePicture)]
            classified = (
                classify_by_all(models, readable, views=views, precision=precision, device=device) if readable else []
            )
            for one in classified:
                if one.probabilities is not None:
                    labels = one.labels(classes)  # by the model's decision rule
                    values[wanted[one.name]] = answer.values(one.probabilities, labels)
            for name, _ in chunk:
                if wanted[name] not in values:
                    unread += 1
                    values[wanted[name]] = answer.values(uniform, usual)
            if on_progress:
                on_progress("classify", len(values), len(wanted))
    if unread:
        log.warning("%d pictures could not be read; their lines have the same probability for each class", unread)
    if others := sum(map(len, pictures.by_stem.values())) - len(wanted):
        log.info("%d other pictures are not in the sample", others)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answer.header)
    writer.writerows(answer.line(id, values[id]) for id in ids)
    num = check_lines(text.getvalue(), out, answer, ids)
    files.write_text(out, text.getvalue())
    log.info("%d lines, checked against the sample", num)
    return out


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
