"""Present the files of a source as one folder, including those in archives: train.7z is read like the folder train/."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from snellen.errors import DataError, first_few
from snellen.sources.archives import DANGLING, SUFFIXES, TAR_SUFFIXES, Container, Contents, Folder, Zip, open_container
from snellen.sources.decode import UnreadablePicture, is_picture, too_large
from snellen.sources.roles import ROLE_OF, words_of
from snellen.sources.rows import common_folder
from snellen.sources.tables import read_table

log = logging.getLogger("snellen")
TABLES = (".csv", ".tsv", ".txt")
MAX_ZIPPED_TABLE = 128 * 10**6  # bytes of a zip file that may contain a table
MAX_COLUMNS = 100  # of a CSV that are searched for paths


@dataclass(frozen=True)
class Place:
    """The real location of a file."""

    container: Container
    name: str


def gather(path: Path, *, scratch: Path, skip: Path | None = None) -> dict[str, Place]:
    """Return the location of each file of a folder or archive, by its name below the common folder.

    Archives inside count as folders of the same name, one level deep, unless that folder exists too.
    scratch: an inner archive of a zip is copied there as one file. skip: a path in a folder to leave out.
    Raises DataError.
    """
    outer = open_container(path, skip=skip)
    files = {name: Place(outer, name) for name in outer.sizes}
    left_out = outer.left_out if isinstance(outer, Folder) else {}
    for folder, why in left_out.items():
        if why != DANGLING:
            log.log(logging.INFO if "snellen" in why else logging.WARNING, "%s %s: it is ignored", folder, why)
    if dangling := [name for name, why in left_out.items() if why == DANGLING]:
        log.warning("%d links point to missing files and are left out, first %s", len(dangling), first_few(dangling))
    only = next(iter(files)) if isinstance(outer, Folder) and len(files) == 1 else ""
    if only.lower().endswith((*SUFFIXES, *TAR_SUFFIXES)):
        return gather(path / only, scratch=scratch)  # the folder contains only the download
    inner = [name for name in files if name.lower().endswith(SUFFIXES)]
    pictures = [name for name in files if is_picture(name)]
    folders = {"/".join(parts[:n]) for name in pictures for parts in [name.split("/")] for n in range(1, len(parts))}
    unpacked = {name for name in inner if _stem(name) in folders}
    for name in sorted(unpacked):
        log.info("%s is ignored: the folder %s already exists", name, _stem(name))
    packed = [name for name in inner if name not in unpacked]
    # If there are pictures, only train.7z and the like are opened: the pictures probably came from data.zip.
    files |= _zipped_tables(outer, packed, files, scratch)
    packed = [name for name in packed if f"{_stem(name)}" not in files]
    named_for_role = [name for name in packed if ROLE_OF.keys() & words_of(name.rpartition("/")[2])]
    for name in named_for_role or ([] if pictures else packed):
        files |= _inner_files(outer, name, scratch)
    top = common_folder(files)
    return {name.removeprefix(top): place for name, place in files.items()}


def _zipped_tables(outer: Container, packed: list[str], files: dict[str, "Place"], scratch: Path) -> dict[str, "Place"]:
    """Return the tables in zip files that contain nothing else (train.csv.zip), as if they were next to the zip."""
    found: dict[str, Place] = {}
    for name in packed:
        if not name.lower().endswith(".zip") or outer.sizes[name] > MAX_ZIPPED_TABLE:
            continue
        try:
            path = _as_file(outer, name, scratch)
            container = open_container(path) if path else None
        except DataError:
            continue  # reading it later raises the error
        if container and all(member.lower().endswith(TABLES) for member in container.sizes):
            folder = name.rpartition("/")[0]
            for member in container.sizes:
                found.setdefault(f"{folder}/{member}".lstrip("/"), Place(container, member))
            found |= {name: files[name] for name in found.keys() & files.keys()}  # already unpacked
            found[name] = files[name]
    return found


def _as_file(outer: Container, name: str, scratch: Path) -> Path | None:
    """Return an inner archive as a file on disk, or None if that is not possible."""
    if isinstance(outer, Folder):
        return outer.path / name
    if isinstance(outer, Zip):
        # Keeps its own name at the end, for messages.
        path = scratch / "inner" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            outer.copy_out(name, path)
        return path
    return None


def listed_files(table: Path) -> dict[str, Place] | None:
    """Return the pictures that a CSV lists by absolute or relative paths, and the CSV itself; None if it lists none.

    Relative paths start at the folder of the CSV, otherwise at the current folder. Raises DataError if some
    are missing.
    """
    folder = Folder(table.resolve().parent)
    lines = read_table(str(table), table.read_bytes()).lines
    for root in (folder, Folder(Path.cwd())):
        for column in range(min(len(lines[0][1]), MAX_COLUMNS)):
            cells = [
                row[column].replace("\\", "/") for _, row in lines if len(row) > column and is_picture(row[column])
            ]
            present = [cell for cell in cells[:20] if (root.path / cell).is_file()]
            if present:
                missing = [cell for cell in cells if not (root.path / cell).is_file()]
                if missing:
                    raise DataError(
                        f'{len(missing):,} of {len(cells):,} pictures are missing, first "{missing[0]}".',
                        where=str(table),
                        expected=f"files below {root.path}",
                        do="correct the paths, or move the CSV to the folder where they start",
                    )
                return {cell: Place(root, cell) for cell in dict.fromkeys(cells)}
    return None


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _inner_files(outer: Container, name: str, scratch: Path) -> dict[str, Place]:
    path = _as_file(outer, name, scratch)
    if path is None:
        raise DataError(
            f'"{name}" is an archive inside {outer.path.name}.',
            where=str(outer.path),
            expected="archives only inside a folder or a zip file, one level deep",
            do="unpack the outer archive and pass its folder as SOURCE",
        )
    container = open_container(path)
    folder = _stem(name) + "/"
    own = folder.rpartition("/")[0].rpartition("/")[2] + "/"  # train.7z may hold train/1.png or 1.png
    return {folder + member.removeprefix(own): Place(container, member) for member in container.sizes}


def read_pictures(files: dict[str, Place], names: Iterable[str]) -> Iterator[tuple[str, Contents]]:
    """Yield each of `names` with its contents, one container after another, in the order of `names` if possible."""
    for container, members in _by_container(files, names):
        for member, contents in container.read(members):
            yield members[member], contents


def read_whole(files: dict[str, Place], names: Iterable[str], limit: int) -> dict[str, bytes]:
    """Return the bytes of a few files. Raises DataError for a damaged file or one of more than `limit` bytes."""
    whole: dict[str, bytes] = {}
    for container, members in _by_container(files, names):
        for member, contents in container.read(members, limit):
            try:
                if isinstance(contents, Path):
                    if container.sizes[member] > limit:
                        raise too_large(limit)
                    contents = contents.read_bytes()
                elif isinstance(contents, UnreadablePicture):
                    raise contents
            except (UnreadablePicture, OSError) as problem:
                raise DataError(
                    f"{members[member]} cannot be read: {problem}.",
                    where=str(container.path),
                    do="unpack or download it again",
                ) from None
            whole[members[member]] = contents
    return whole


def _by_container(files: dict[str, Place], names: Iterable[str]) -> list[tuple[Container, dict[str, str]]]:
    """Group names by container: for each, a dict from the name in the container to the name in the source."""
    groups: dict[int, tuple[Container, dict[str, str]]] = {}
    for name in names:
        place = files[name]
        groups.setdefault(id(place.container), (place.container, {}))[1][place.name] = name
    return list(groups.values())
