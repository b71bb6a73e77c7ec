"""Stop all stacks or one, and wait until every layer is down."""

from __future__ import annotations

import argparse

from drbdocfs_boot import follow_jobs


def arguments(parser: argparse.ArgumentParser) -> None:
    follow_jobs.arguments(parser, "stop")


def run(args: argparse.Namespace) -> int:
    """0 done, or nothing to do; 1 a layer failed, or it was started again meanwhile; 2 no such stack; 69 no systemd; 75
    not done in time, it goes on; 77 not root; 78 the configuration; 130 Ctrl-C: systemd goes on."""
    return follow_jobs.run("stop", args)
