"""Seconds from the command line to its first word, beside what importing torch alone takes.

    python benchmarks/startup.py [--rounds 5]

Rounds alternate; medians are printed, and each command's ratio to the import of torch.
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c 'import torch'": ["-c", "import torch"],
    "python -c 'import snellen'": ["-c", "import snellen"],
    "snellen --help": ["-m", "snellen", "--help"],
    "snellen list recipes": ["-m", "snellen", "list", "recipes"],
    "snellen show fast": ["-m", "snellen", "show", "fast"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, words in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            if number:  # the first round fills the page cache
                seconds[name].append(time.perf_counter() - started)
    reference = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:28} {median:6.2f} s ({min(values):.2f} to {max(values):.2f}), ratio {median / reference:.2f}")


if __name__ == "__main__":
    main()
