"""A stack whose configuration is wrong: a unit that fails at once, with the words of the generator."""

import os

from drbdocfs_boot.exits import EX_CONFIG
from drbdocfs_boot.helpers.base import Layer
from drbdocfs_boot.tools.failure import Failure


def start(layer: Layer) -> None:
    """Always raises Failure (78)."""
    message = os.environ.get("DRBDOCFS_MESSAGE", "")
    raise Failure(
        EX_CONFIG,
        message or f"nothing is wrong with '{layer.instance}' that the generator knows of",
        "mend it, then 'systemctl daemon-reload' and 'systemctl start drbdocfs.target'",
    )
