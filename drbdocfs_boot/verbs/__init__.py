"""The verbs of ``drbdocfs``, one a file, each with ``arguments`` and ``run``.

The file's name is the verb's, with ``_`` for ``-``.  The table is here, so that nothing is imported for a verb that
is not used.
"""

HELP = {
    "check": "all that is wrong or risky, before a reboot shows it",
    "create": "day one on both hosts, from one description; refuses where data stands",
    "fence-test": "try, before it is needed, all that decides who goes on when the link is lost",
    "generate": "what the generator would write, without touching the system",
    "import": "from a set-up made by hand to our configuration",
    "proceed": "end the wait for the peer: go on alone",
    "reboot-test": "reboot both nodes again and again from a third machine, and verify each boot",
    "restart": "stop, then start, all stacks or one",
    "split-brain": "show both sides of a split brain; resolve it with the victim's host named",
    "start": "bring all stacks up, or one, and show each layer",
    "status": "every layer of every stack, with what it waits for",
    "stop": "take all stacks down, or one, and wait until it is",
    "timeline": "how long each layer took at a boot, and why",
}

# What the verb that is run most is asked with where nothing stands after it: no parser has to be made for that, which
# takes longer than the answer.  A test holds it to the parser.
BARE = {"status": {"stack": None, "json": False, "watch": False}}
