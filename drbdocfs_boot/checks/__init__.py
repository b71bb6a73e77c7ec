"""What ``drbdocfs check`` looks for: one file per area, each with its rules and ``find``.

An area's ``find`` is a function of Facts alone, so every rule is tested offline, on a tree of files.
"""
