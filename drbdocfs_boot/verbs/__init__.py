"""The verbs of ``drbdocfs``, one a file, each with ``arguments`` and ``run``.

The file's name is the verb's, with ``_`` for ``-``.  The table is here, so that nothing is imported for a verb that
is not used.
"""

HELP = {
    "create": "day one on both hosts, from one description; refuses where data stands",
    "generate": "what the generator would write, without touching the system",
    "proceed": "end the wait for the peer: go on alone",
    "split-brain": "show both sides of a split brain; resolve it with the victim's host named",
    "status": "every layer of every stack, with what it waits for",
}
