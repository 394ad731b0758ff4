"""The readers of hostile.py under atheris, which keeps those changes that reach new code: coverage-guided fuzzing.

    python benchmarks/fuzz.py READER SECONDS        (pip install atheris; Python 3.11 to 3.13, Linux)

Ends with a report of libFuzzer's: how many inputs were run, and the input of a failure where there was one.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["snellen", "PIL", "py7zr"]):
    from PIL import Image

    Image.init()  # its readers are imported when they are needed: here, so that they are instrumented too
    import hostile
    from fault_inputs import make_inputs


def main() -> None:
    name, seconds = sys.argv[1:]
    base = Path(tempfile.mkdtemp(prefix="snellen-fuzz-")).resolve()
    make_inputs(base)
    wholes, reader = hostile.readers(base)[name]
    for folder in ("corpus", "scratch"):
        (base / folder).mkdir()
    for suffix, whole in wholes.items():
        (base / "corpus" / f"whole{suffix}").write_bytes(whole)
    tempfile.tempdir = str(base / "scratch")
    attempt, suffix = hostile.Attempt(name, reader, base / "scratch"), next(iter(wholes))

    def once(data: bytes) -> None:
        attempt.read(data, suffix)

    longest = 2 * max(map(len, wholes.values()))
    limits = [f"-max_total_time={seconds}", f"-max_len={longest}", "-rss_limit_mb=4096", f"-artifact_prefix={base}/"]
    atheris.Setup([sys.argv[0], *limits, str(base / "corpus")], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
