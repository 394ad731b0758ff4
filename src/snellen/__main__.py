"""`python -m snellen`"""

import os
import sys

from snellen.cli.commands import main

if __name__ == "__main__":
    try:
        main()
    except SystemExit as end:
        if "RANK" not in os.environ or end.code:
            raise
        # One of several processes, all done: gloo's threads now and then abort the end of an interpreter
        # ("terminate called without an active exception"), and torchrun would take that for a failure.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
