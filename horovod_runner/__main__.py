"""`python -m horovod_runner` is `horovod-runner`."""

import sys

from horovod_runner.cli import main

sys.exit(main())
