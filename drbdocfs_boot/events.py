"""State of one DRBD resource, merged from the lines of ``drbdsetup events2``.

One parser for DRBD 8.4 and 9.  A line is ``[TIMESTAMP] VERB OBJECT key:value ...``; the first dump ends with
``exists -``; after it ``change`` lines carry only what changed, so everything is merged.  What differs between the
drivers is hidden here:

* DRBD 8.4 knows one peer and always calls it node 0, ``peer``.
* DRBD 8.4 *destroys* a connection that goes StandAlone, and creates it as StandAlone a moment before it connects
  again; in a dump a StandAlone connection has no ``conn-name``.
* DRBD 9 keeps the connection object and adds ``path`` objects.
* DRBD 9 may have a third node without a disk, a tiebreaker for the quorum (``peer-client:yes``).  It has no data, so
  nothing that is asked of a peer is asked of it: it is kept apart from ``connections`` and ``peer_devices``.

The kernel takes the dump's snapshot at once but sends it piece by piece, and events arrive between the pieces:
``change`` of an object may come *before* its ``exists``, which then is the older of the two.  drbdsetup passes both
on as they come, so within a dump what an event said stays.

Pure: lines in, state out.  Sources: drbdsetup(8), and real output of both drivers in tests/transcripts.
"""

UNKNOWN = "Unknown"
# Replication states in which data flows or is about to: DRBD's own names, the same in 8.4 and 9.
RESYNC_STATES = frozenset(
    (
        "StartingSyncS", "StartingSyncT", "WFBitMapS", "WFBitMapT", "WFSyncUUID",
        "SyncSource", "SyncTarget", "PausedSyncS", "PausedSyncT", "Ahead", "Behind",
    )
)  # fmt: skip


class Event:
    """One line of events2: ``verb`` and ``object`` as DRBD prints them, ``keys`` the rest."""

    __slots__ = ("keys", "object", "verb")

    def __init__(self, verb: str, object: str, keys: "dict[str, str]") -> None:
        self.verb = verb
        self.object = object
        self.keys = keys


def parse(line: str) -> "Event | None":
    """Take one line apart; None for what is not an event (an empty line, a message of the tool).

    Values are split at the first colon only: an IPv6 address or a path has more.
    """
    words = line.split()
    if words and words[0][:1].isdigit():  # --timestamps
        del words[0]
    if words[:2] == ["-", "skipped"]:  # the kernel dropped events: a line of its own form
        return Event("-", "-", {"skipped": words[-1]})
    if len(words) < 2 or not words[0].isalpha():
        return None
    keys: "dict[str, str]" = {}
    for word in words[2:]:
        key, colon, value = word.partition(":")
        if colon:
            keys[key] = value
    return Event(words[0], words[1], keys)


class State:
    """What is known of one resource.

    ``complete`` is True once the dump has ended; before that nothing may be concluded from it.
    ``lost`` is True when the kernel dropped events: the only answer is a new dump by a new process.
    ``split_brain`` is True once DRBD called its split-brain helper and nothing has connected since.
    ``tiebreakers`` are connections to nodes that have no disk, and are to have none.
    """

    __slots__ = (
        "_early", "complete", "connections", "devices", "lost", "name", "paths", "peer_devices", "resource",
        "split_brain", "stand_alone", "tiebreakers",
    )  # fmt: skip

    def __init__(self) -> None:
        self.name = ""
        self._clear()

    def _clear(self) -> None:
        self.complete = False
        # What events said before the dump was complete, by object and index; None: destroyed.
        self._early: "dict[str, dict[str, str] | None]" = {}
        self.lost = False
        self.split_brain = False
        self.stand_alone = False
        self.resource: "dict[str, str]" = {}
        self.connections: "dict[str, dict[str, str]]" = {}
        self.devices: "dict[str, dict[str, str]]" = {}
        self.peer_devices: "dict[str, dict[str, str]]" = {}
        self.paths: "dict[str, dict[str, str]]" = {}
        self.tiebreakers: "dict[str, dict[str, str]]" = {}

    @property
    def configured(self) -> bool:
        """True when the kernel knows the resource."""
        return bool(self.resource)

    def feed(self, line: str) -> bool:
        """Merge one line; True when it was an event that could change a verdict."""
        event = parse(line)
        if event is None:
            return False
        verb, kind, keys = event.verb, event.object, event.keys
        if kind == "-":
            if "skipped" in keys:
                self.lost = True
            elif verb == "exists":
                self.complete = True
                self._early = {}
            return True
        if verb in ("call", "response"):
            return self._helper(verb, keys)
        if kind == "resource":
            self._resource(verb, keys)
            return True
        table = {
            "connection": self.connections,
            "device": self.devices,
            "peer-device": self.peer_devices,
            "path": self.paths,
        }.get(kind)
        if table is None:
            return False
        index = {
            "connection": keys.get("peer-node-id", ""),
            "device": keys.get("volume", ""),
            "peer-device": keys.get("peer-node-id", "") + "/" + keys.get("volume", ""),
            "path": keys.get("peer-node-id", "") + "/" + keys.get("local", "") + "/" + keys.get("peer", ""),
        }[kind]
        keys = self._in_order(verb, kind + " " + index, keys)
        if not keys:
            return True
        node = keys.get("peer-node-id", "")
        if kind == "peer-device" and "peer-client" in keys and verb != "destroy":
            self._tiebreaker(node, keys["peer-client"] == "yes")
        if node in self.tiebreakers:
            if kind == "connection" and verb == "destroy":
                del self.tiebreakers[node]
            elif kind == "connection":
                self.tiebreakers[node].update(keys)
            if kind != "path":
                return True
        if verb == "destroy":
            old = table.pop(index, {})
            if kind == "connection" and old.get("connection") in ("StandAlone", "Disconnecting"):
                self.stand_alone = True  # 8.4 says StandAlone by taking the connection away
        else:
            table.setdefault(index, {}).update(keys)
            if kind == "connection":
                self._connection(verb, table[index])
        return True

    def _tiebreaker(self, node: str, is_one: bool) -> None:
        """Keep a node apart, or take it back among those that have data; drbdadm says which it is after new-peer."""
        if is_one and node not in self.tiebreakers:
            self.tiebreakers[node] = self.connections.pop(node, {})
            for index in [index for index in self.peer_devices if index.partition("/")[0] == node]:
                del self.peer_devices[index]
            # What was said of its connection before it was known for what it is.
            self.stand_alone = any(one.get("connection") == "StandAlone" for one in self.connections.values())
        elif not is_one and node in self.tiebreakers:
            self.connections[node] = self.tiebreakers.pop(node)

    def _in_order(self, verb: str, which: str, keys: "dict[str, str]") -> "dict[str, str]":
        """The keys with what a newer event has said of them already; empty for an object that is gone already."""
        if self.complete:
            return keys
        if verb == "exists":
            newer = self._early.get(which, {})
            return {} if newer is None else {**keys, **newer}
        self._early[which] = None if verb == "destroy" else {**(self._early.get(which) or {}), **keys}
        return keys

    def _helper(self, verb: str, keys: "dict[str, str]") -> bool:
        # initial-split-brain also comes for a split brain that DRBD then resolves by itself, by the after-sb
        # policies; only the split-brain helper says that it could not.
        if verb == "call" and keys.get("helper") == "split-brain":
            self.split_brain = True
            return True
        return False

    def _resource(self, verb: str, keys: "dict[str, str]") -> None:
        if verb == "destroy":
            complete = self.complete
            self._clear()
            self.complete = complete
        elif verb == "rename":
            self.name = keys.get("new_name", keys.get("new-name", self.name))
        else:
            if verb == "exists" and self.complete:
                self._clear()  # a new dump begins
            self.resource.update(self._in_order(verb, "resource", keys))
            self.name = keys.get("name", self.name)

    def _connection(self, verb: str, merged: "dict[str, str]") -> None:
        now = merged.get("connection")
        # "Connected" is said before the handshake can find the split brain, so it clears nothing; a peer role
        # does: it is only known after a handshake that succeeded.
        if merged.get("role", UNKNOWN) != UNKNOWN:
            self.split_brain = False
        self.stand_alone = now == "StandAlone"


def read_all(text: str) -> "dict[str, State]":
    """State of each resource of a dump of all of them, by its name."""
    found: "dict[str, list[str]]" = {}
    common = []
    for line in text.splitlines():
        name = line.partition(" name:")[2].partition(" ")[0]
        if name:
            found.setdefault(name, []).append(line)
        else:
            common.append(line)  # the end of the dump, and that events were dropped
    return {name: read("\n".join(lines + common)) for name, lines in found.items()}


def read(text: str) -> State:
    """State after all lines of a text, for one-time looks and for tests."""
    state = State()
    for line in text.splitlines():
        state.feed(line)
    return state
