"""``python3 -m drbdocfs_boot VERB ...`` from a checkout."""

import sys

from drbdocfs_boot.cli import main

sys.exit(main())
