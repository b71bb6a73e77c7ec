"""The verbs of ``drbdocfs``, one a file.  Each has HELP, ``arguments`` and ``run``; the file's name is the verb."""
