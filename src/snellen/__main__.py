"""`python -m snellen`"""

import os
import sys

from snellen.cli.commands import main
from snellen.system.group import end_with_launcher

if __name__ == "__main__":
    end_with_launcher()
    try:
        main()
    except SystemExit as end:
        if "RANK" not in os.environ:
            raise
        # One of several processes. Sometimes gloo's threads abort the interpreter while it shuts down ("terminate
        # called without an active exception"), and torchrun would report that instead of the result or the error.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
