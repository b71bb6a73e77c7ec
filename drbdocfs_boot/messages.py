"""What follow service and fence-peer handler put into the journal: one table, each entry with a lasting identity.

The MESSAGE_ID is what ``journalctl MESSAGE_ID=...`` finds and what the journal catalog explains
(packaging/catalog/drbdocfs-boot.catalog has an entry for each, a test holds the two together).  A message whose
meaning changes gets a new identity.  Pure, builtins only.
"""

# Priorities of syslog(3).
CRITICAL, ERROR, WARNING, NOTICE = 2, 3, 4, 5


class Kind:
    """``id``: 128 bits in hex; ``name``: for us; ``text``: with the fields of a message in braces."""

    __slots__ = ("id", "name", "priority", "text")

    def __init__(self, id: str, name: str, priority: int, text: str) -> None:
        self.id = id
        self.name = name
        self.priority = priority
        self.text = text


MESSAGE_ID = (
    Kind("343dfb3ebad84747b05e34c889b9ba14", "peer-lost", WARNING, "lost {peer} ({reason})"),
    Kind("e1985b2876964d94a32d1e6b652154b4", "peer-left", NOTICE, "{peer} has left in good order"),
    Kind("d93ea9c2eca44949a90f15a41e2bf20d", "peer-back", NOTICE, "{peer} is connected (after {duration})"),
    Kind("1fadaab7ad3f4b02a83531777e1390ab", "peer-disk-gone", WARNING, "the disk of {peer} is {reason}"),
    Kind("a7388d769a024e799bf5d23697122f9d", "resync-started", NOTICE, "resync {direction} {peer} has begun{amount}"),
    Kind("1fe5e3da9e374730a61d805880abce63", "resync-ended", NOTICE,
         "resync {direction} {peer} has ended after {duration}"),
    Kind("9d8da381440e42eab0abb7d19a1e5813", "resync-stalled", WARNING,
         "resync {direction} {peer} makes no progress{progress}, for {duration}{reason}"),
    Kind("87dd0a81542e4a688b0fc9fc59c43695", "resync-goes-on", NOTICE,
         "resync {direction} {peer} goes on again{progress}"),
    Kind("109e28c76a2545909f0f41ed4afe4ec2", "both-uptodate", NOTICE,
         "connected, UpToDate on both nodes (after {duration})"),
    Kind("7091207527364f99ab7a9d7d99f22295", "disk-gone", ERROR, "{reason}"),
    Kind("569fddfa81c545218dafb50a1c96d1ec", "split-brain", CRITICAL, "{reason}"),
    Kind("90a63a0c447c47dbbaa0bf531eede15d", "authentication", ERROR, "{reason}"),
    Kind("2570d03a064a433d8d84bc600855a4bb", "nodes-differ", ERROR, "{reason}"),
    Kind("d8fdc5b6b7994babab051bf96afae0f5", "address-lost", WARNING, "{reason}"),
    Kind("efbb71b51a3a4859a57b095ff571ee99", "disconnected", WARNING, "{reason}"),
    Kind("ac7d1d884572481e8a421e5f2b7eecbb", "connecting-again", NOTICE,
         "{reason}: connecting {resource} again"),
    Kind("cedd0ec17c0c4a7c88be584ed7ed5f0c", "io-suspended", ERROR, "I/O of {resource} is suspended ({reason})"),
    Kind("d1ead41792e14d5f8c8a8a9e62bb0ef2", "io-resumed", NOTICE,
         "I/O of {resource} goes on again, after {duration}"),
    Kind("4bb8b7da2b4945f587f6c45bbbb0009b", "late-start", NOTICE, "comes up now, late: {reason}"),
    Kind("d077d282bf0547ba89b40c03fcc2dda8", "alone", WARNING, "comes up now, without its peer: {reason}"),
    Kind("b5bc88d140ff4fc092fdc3c8f8646ba1", "alone-refused", WARNING, "{reason}"),
    Kind("c3f3f26ed551496780482c93fea9dbb9", "start-refused", WARNING, "could not be started yet: {reason}"),
    Kind("8e5a6a5d97de42d8852d2f562243819f", "ocfs2-apart", CRITICAL,
         "DRBD is connected again, but OCFS2 has not found {peer}: one of the two nodes has to be reset ({reason})"),
    Kind("18fedcc3d451465a94acf9c8667f537b", "fence-begun", WARNING,
         "{peer} is gone, input and output of {resource} are frozen: {reason}"),
    Kind("c476104046134a49840557283f96e493", "fence-back", NOTICE,
         "{peer} is connected again after {duration}, both nodes go on"),
    # journald writes what is critical to the disk at once: the node may be reset in a moment.
    Kind("d83fc71365fb4271bfc65b3aab85b6df", "fence-goes-on", CRITICAL,
         "this node goes on without {peer}, after {duration}: {reason}"),
    Kind("32ecc65e93a743c88be76c8e0523f0a6", "fence-frozen", CRITICAL,
         "input and output of {resource} stay frozen: {reason}"),
    Kind("18d26ee2ce2347bfb89c2394be97bcbd", "fence-step", NOTICE, "fencing: {reason}"),
    Kind("6e6c56ad6f8d420f89ab02a84ef7723e", "fence-promotion", WARNING,
         "promotion of {resource} without {peer}: {reason}"),
)  # fmt: skip
KINDS = {kind.name: kind for kind in MESSAGE_ID}


class Message:
    """One message: a kind, and what it speaks of (``stack``, ``resource``, ``peer`` and what the text names)."""

    __slots__ = ("fields", "kind")

    def __init__(self, name: str, **fields: str) -> None:
        self.kind = KINDS[name]
        self.fields = fields

    @property
    def text(self) -> str:
        """One line."""
        return self.fields["stack"] + ": " + self.kind.text.format(**self.fields)

    def journal(self) -> "dict[str, str]":
        """The fields for the journal; those of ours begin with DRBDOCFS_."""
        found = {"MESSAGE": self.text, "MESSAGE_ID": self.kind.id, "PRIORITY": str(self.kind.priority)}
        found.update({"DRBDOCFS_" + key.upper(): value for key, value in self.fields.items()})
        return found
