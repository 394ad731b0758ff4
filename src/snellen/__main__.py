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
        if "RANK" not in os.environ or end.code:
            raise
        # One of several processes, all done. Sometimes gloo's threads abort the interpreter while it shuts down
        # ("terminate called without an active exception"), and torchrun would report that as a failure.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
