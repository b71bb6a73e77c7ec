"""What ``drbdocfs check`` looks for: one file per area, each with its rules and ``find``.

An area's ``find`` is a function of Facts alone, so every rule is tested offline, on a tree of files.
"""

# The areas in their order: modules of this package with BOOK (its rules) and find(facts).
AREAS = ("configuration", "drbd", "network", "cluster", "fencing", "storage", "mounts", "rivals", "host", "now")
# Modules with rules of their own that are no areas: what running the areas finds, and the comparison with the peer.
OTHERS = ("runner", "peer")
