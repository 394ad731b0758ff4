"""A folder of raw files that a test describes."""

from PIL import Image

from conftest import write_csv
from snellen.sources.source import open_source
from snellen.sources.task_options import TaskOptions


class RawFolder:
    """Pictures and tables in a folder."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def pictures(self, *names):
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(path)

    def numbered(self, folder, *numbers):
        self.pictures(*(f"{folder}/{n}.png" for n in numbers))

    def table(self, name, header, *rows):
        write_csv(self.folder / name, [tuple(header.split(",")), *rows])

    def open(self, **options):
        given = {name: options.pop(name) for name in ("labels", "test", "sample") if name in options}
        scratch = self.folder.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        return open_source(self.folder, options=TaskOptions(**options), scratch=scratch, **given)
