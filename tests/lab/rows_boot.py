"""Faults: reboots, and the power going at every stage of a boot and of a shutdown."""

from __future__ import annotations

from .fault import Case, fault

GROUP = "reboots and power"


@fault("reboot-one", "the other writes on; it comes back by itself", group=GROUP)
def reboot_one(case: Case) -> None:
    case.note(f"shutdown {case.two.reboot():.0f} s")
