#!/usr/bin/python3 -IS
"""Stand-in for the tools of the stack, under whose names it is installed: what it is depends on argv[0].

It keeps the tools' rules as far as order shows in them: no attach without the loop device, no mount without Primary
and cluster, no `down` below a mount.  Every call is written to LOG twice, when it begins and when it ends, with the
monotonic time, so that two calls that overlap show.

Delays come from the plan's seed and the call alone, so that a boot can be repeated.  The plan (PLAN), one item a line:

    seed 17                                     any number
    delay 0.05                                  longest random delay of a call, in seconds
    rule drbdadm adjust r0: code=1 times=1      this call exits with 1 the first time; hang=1: never ends; say=ITS_WORDS
    peer r0: connect=0.1 sync=0.2 outcome=ready seconds after the attach, and what comes of it: ready, never,
                                                standalone, split-brain or secret; resync=50 leaves the resync at 50 %
                                                for ever, way=source makes it go to the peer; disk=Outdated is the local
                                                disk without a peer
    metadata r0: bitmap=1C6A8C27D81A6CC7        bitmap UUID of DRBD's metadata: what the peer has not got; outdated=1
    address 192.0.2.1                           which the network brings; a resource whose address is not there goes
                                                StandAlone, until an adjust when it is
    kernel-log yes                              /dev/kmsg is a file from which DRBD's messages can be read

The plan may change at any time: a peer that is to come at a moment of the test's choice is `never` first.

Run without site-packages and with few imports: a boot calls it some thirty times.
"""

import fcntl
import os
import shutil
import sys
import time
import zlib

PLAN = "/etc/standin.plan"
PLACE = "/var/lib/standin"  # kept over a reboot
LOG = PLACE + "/log"
STATE = "/run/standin"  # lost at a reboot, as the kernel's state is
CONFIGFS = "/sys/kernel/config/cluster"
KERNEL_LOG = STATE + "/kmsg"

DUMP = """\
# resource {0} on {1}: not ignored, not stacked
# defined at /etc/drbd.d/{0}.res:1
resource {0} {{
    on {1} {{
        device           {device} minor {device[9]};
        disk             {disk};
        meta-disk        internal;
        address          ipv4 {address}:7789;
    }}
    on server2 {{
        device           {device} minor {device[9]};
        disk             {disk};
        meta-disk        internal;
        address          ipv4 127.0.0.2:7789;
    }}
    net {{
        allow-two-primaries yes;
        after-sb-0pri    discard-zero-changes;
    }}
}}"""

Settings = dict[str, str]
performed: list[str] = []


class Refusal(Exception):
    """The tool's exit code and what it says."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


def read(name: str) -> str:
    """A small file's text; empty when there is none."""
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def write(name: str, text: str) -> None:
    """Write a small file, making its directory."""
    os.makedirs(os.path.dirname(name), exist_ok=True)
    new = f"{os.path.dirname(name)}/.{os.getpid()}"
    with open(new, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(new, name)


def settings(text: str) -> Settings:
    """Words `key=value` of a line."""
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def plan(kind: str, name: str = "") -> str:
    """The rest of the plan's line that begins with these words; the last one counts."""
    found = ""
    begin = f"{kind} {name}:" if name else kind + " "
    for line in read(PLAN).splitlines():
        if line.startswith(begin):
            found = line[len(begin) :]
    return found.strip()


def log(mark: str, words: str) -> None:
    """One line: monotonic seconds, process, + or -, the call, and for - its exit code."""
    line = f"{time.monotonic():.6f} {os.getpid()} {mark} {words}\n"
    fd = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(fd, line.encode())  # one write: lines of two processes never mix
    os.close(fd)


def counted(call: str) -> int:
    """How many times this call was made before, in this boot."""
    name = f"{STATE}/count/{call.replace('/', '_')}"
    with open(STATE + "/lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        number = int(read(name) or 0)
        write(name, str(number + 1))
    return number


def luck(call: str, number: int) -> float:
    """From 0 to 1, the same for the same seed, call and count."""
    return zlib.crc32(f"{plan('seed')} {call} {number}".encode()) / 2**32


def perform(name: str, action: str, instance: str) -> None:
    """What every call begins with: the log, the delay, the failure that the plan has for it."""
    call = f"{name} {action} {instance}"
    performed.append(call)
    log("+", call)
    number = counted(call)
    rule = settings(plan("rule", call))
    applies = number < int(rule.get("times", "1000000"))
    time.sleep(luck(call, number) * float(plan("delay") or 0))
    if rule.get("hang") and applies:
        time.sleep(1_000_000)
    if applies and "code" in rule:
        raise Refusal(int(rule["code"]), rule.get("say", "planned_failure").replace("_", " "))


def run(*command: str) -> None:
    """Run a real program, whose words are heard as ours.  Raises Refusal with its exit code."""
    pid = os.posix_spawn(command[0], command, os.environ)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != 0:
        raise Refusal(code, "")


def mounted(device: str) -> bool:
    """Is it mounted anywhere?"""
    return f" - tmpfs {device} " in read("/proc/self/mountinfo")


# losetup: the state is the fake sysfs itself.


def losetup(arguments: list[str]) -> None:
    """`--list --output …`, `NODE FILE`, `--detach NODE`."""
    if "--list" in arguments:
        perform("losetup", "list", "all")
        for block in sorted(os.listdir("/sys/block")):
            file = read(f"/sys/block/{block}/loop/backing_file").rstrip("\n")
            if file:
                found = os.stat(file)
                number = f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}"
                print(f"/dev/{block} 0 0 {found.st_ino} {number} {file}")
    elif arguments[0] == "--detach":
        block = os.path.basename(arguments[1])
        perform("losetup", "detach", arguments[1])
        if any(f"disk={arguments[1]} " in read(f"{STATE}/drbd/{name}") for name in resources()):
            return  # as the real one: busy, exit status 0, still bound
        shutil.rmtree(f"/sys/block/{block}", ignore_errors=True)
    else:
        node, file = arguments
        perform("losetup", "attach", node)
        if not read("/sys/module/loop/refcnt"):
            raise Refusal(1, f"losetup: {node}: failed to set up loop device: No such device")
        if not os.path.exists(file) or not os.path.exists(node):
            raise Refusal(1, f"losetup: {file}: failed to set up loop device: No such file or directory")
        write(f"/sys/block/{os.path.basename(node)}/loop/backing_file", file + "\n")


# DRBD: one file for each resource that the kernel would know.


def resources() -> list[str]:
    """Names of the resources that are up."""
    found = os.listdir(STATE + "/drbd") if os.path.isdir(STATE + "/drbd") else []
    return sorted(name for name in found if not name.startswith("."))


def kernel(resource: str) -> Settings:
    """State of a resource; empty when it is not up."""
    return settings(read(f"{STATE}/drbd/{resource}"))


def remember(resource: str, **values: str) -> None:
    """Change a resource's state."""
    both = {**kernel(resource), **values}
    # The blank at the end makes every `key=value ` a whole word.
    write(f"{STATE}/drbd/{resource}", " ".join(f"{key}={value}" for key, value in both.items()) + " \n")


def configured(resource: str) -> Settings:
    """`device`, `disk` and `address` of a resource in /etc/drbd.d."""
    words = read(f"/etc/drbd.d/{resource}.res").replace(";", " ").split()
    if words[:2] != ["resource", resource]:
        raise Refusal(10, f"'{resource}' not defined in your config (for this host).")
    found = {key: words[words.index(key) + 1] for key in ("device", "disk")}
    found["address"] = words[words.index("address") + 1] if "address" in words else "127.0.0.1"
    return found


def minor(device: str) -> str:
    """The number of a device node, which 8.4's tools want instead of the resource's name."""
    return str(os.minor(os.stat(device).st_rdev))


def owner(name: str) -> str:
    """The resource of this name or minor; the name itself for what the kernel does not know."""
    return next((found for found in resources() if name in (found, minor(kernel(found)["device"]))), name)


def module() -> None:
    """Every DRBD tool needs the module."""
    if not read("/sys/module/drbd/refcnt"):
        raise Refusal(20, "Could not connect to 'drbd' generic netlink family")


def drbdadm(arguments: list[str]) -> None:
    """`dump`, `adjust`, `primary`."""
    action, resource = arguments
    perform("drbdadm", action, resource)
    if action == "dump":
        print(DUMP.format(resource, os.uname().nodename, **configured(resource)))
    elif action == "adjust":
        module()
        found = configured(resource)
        if not read(f"/sys/block/{os.path.basename(found['disk'])}/loop/backing_file"):
            raise Refusal(1, f"open({found['disk']}) failed: No such device or address")
        state = kernel(resource)
        if not state:
            remember(resource, since=str(time.monotonic()), role="Secondary", bind="", dropped="", **found)
            announce(found["device"])
        elif state["bind"] == "failed":
            kernel_says(f"drbd {resource}: conn( StandAlone -> Unconnected )")
            remember(resource, since=str(time.monotonic()), bind="")
    elif action == "primary":
        module()
        if view(resource)[2] != "UpToDate":
            raise Refusal(17, f"{resource}: State change failed: (-2) Need access to UpToDate data")
        remember(resource, role="Primary")
    else:
        raise Refusal(1, f"stand-in: no drbdadm {action}")


def here(address: str) -> bool:
    """Is it an address of this machine?"""
    import _socket  # `socket` is slow

    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        sock.bind((address, 0))
    except OSError:
        return False
    finally:
        sock.close()
    return True


def kernel_says(words: str) -> None:
    """A message in the kernel log, where the plan has one that can be read."""
    if os.path.exists(KERNEL_LOG):
        with open(KERNEL_LOG, "a", encoding="ascii") as file:
            file.write(f"6,{time.monotonic_ns()},{time.monotonic_ns() // 1000},-;{words}\n")


def announce(device: str) -> None:
    """Tell systemd what udev would tell it: the device is there.  Only where /sys is writable, see container.py.

    The message is that of libudev's monitor: a header, then the properties; all bits of the bloom filter are set.
    """
    if os.statvfs("/sys").f_flag & os.ST_RDONLY:
        return
    import socket  # slow, and rarely needed
    import struct

    number = os.stat(device).st_rdev
    name = os.path.basename(device)
    properties = "".join(
        f"{item}\0"
        for item in (
            "ACTION=add", f"DEVPATH=/devices/virtual/block/{name}", "SUBSYSTEM=block", f"DEVNAME={device}",
            "DEVTYPE=disk", f"MAJOR={os.major(number)}", f"MINOR={os.minor(number)}", "SEQNUM=1",
            "USEC_INITIALIZED=1", "TAGS=:systemd:", "CURRENT_TAGS=:systemd:",
        )
    ).encode()  # fmt: skip
    header = b"libudev\0" + struct.pack(">I", 0xFEEDCAFE) + struct.pack("=III", 40, 40, len(properties))
    header += struct.pack(">IIII", 0, 0, 0xFFFFFFFF, 0xFFFFFFFF)
    os.makedirs(f"/sys/devices/virtual/block/{name}", exist_ok=True)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as monitor:
        monitor.sendto(header + properties, (0, 2))


def view(resource: str) -> tuple[str, str, str, str]:
    """Connection, replication, disk and peer's disk, from the time since the attach."""
    state = kernel(resource)
    if not state:
        raise Refusal(10, f"{resource}: Unknown resource")
    peer = settings(plan("peer", resource))
    age = time.monotonic() - float(state["since"])
    connect, sync = float(peer.get("connect", "0")), float(peer.get("sync", "0"))
    outcome = peer.get("outcome", "ready")
    if state["bind"] != "failed" and state["address"] != "127.0.0.1" and not here(state["address"]):
        kernel_says(f"drbd {resource}: bind before listen failed, err = -99")
        kernel_says(f"drbd {resource}: conn( Disconnecting -> StandAlone )")
        remember(resource, bind="failed")
        state["bind"] = "failed"
    if state["bind"] == "failed":
        return "StandAlone", "Off", peer.get("disk", "UpToDate"), "DUnknown"
    if age < connect or outcome == "never":
        return "Connecting", "Off", peer.get("disk", "UpToDate"), "DUnknown"
    if outcome in DROPPED:
        if state["dropped"] != outcome:
            kernel_says(f"drbd {resource}: {DROPPED[outcome]}")
            remember(resource, dropped=outcome)
        return "StandAlone", "Off", "UpToDate", "DUnknown"
    if age < connect + sync or "resync" in peer:
        if peer.get("way") == "source":
            return "Connected", "SyncSource", "UpToDate", "Inconsistent"
        return "Connected", "SyncTarget", "Inconsistent", "UpToDate"
    return "Connected", "Established", "UpToDate", "UpToDate"


def drbdsetup(arguments: list[str]) -> None:
    """`events2`, `get-gi`, `secondary`, `down`."""
    action, name = arguments[0], arguments[-1]
    if action == "events2":
        resource = "" if name.startswith("-") else name  # none: all of them
        follow = "--now" not in arguments
        perform("drbdsetup", "follow" if follow else action, resource or "all")
        module()
        events(resource, follow, "--timestamps" in arguments)
        return
    resource = owner(name)
    perform("drbdsetup", action, resource)
    module()
    state = kernel(resource)
    if not state:
        raise Refusal(10, f"{name}: Unknown resource")
    if action == "get-gi":
        metadata(resource)
    elif action in ("secondary", "down"):
        if mounted(state["device"]):
            raise Refusal(11, f"{resource}: State change failed: (-12) Device is held open by someone")
        if action == "secondary":
            remember(resource, role="Secondary")
        else:
            if state["role"] == "Primary":
                raise Refusal(11, "the stack's order is wrong: down before secondary")
            os.unlink(f"{STATE}/drbd/{resource}")
    else:
        raise Refusal(1, f"stand-in: no drbdsetup {action}")


def metadata(resource: str) -> None:
    """Data generation UUIDs and flags, as DRBD 8.4 prints them."""
    known = settings(plan("metadata", resource))
    connection, _, disk, _ = view(resource)
    consistent, uptodate = int(disk != "Inconsistent"), int(disk == "UpToDate" and "outdated" not in known)
    flags = f"{consistent}:{uptodate}:{int(kernel(resource)['role'] == 'Primary')}:{int(connection == 'Connected')}"
    print(
        "\n       +--<  Current data generation UUID  >-"
        "\n       |               +--<  Bitmap's base data generation UUID  >-"
        "\n       V               V                 V         V\n"
        f"D5E2B0B3002A6608:{known.get('bitmap', '0000000000000000')}:3970017E70B72451:396F017E70B72451:{flags}:0:0:0\n"
        f"\nflags: {kernel(resource)['role']}, {connection}, {disk}\nmeta-data: need apply-al"
    )


# Outcomes that end with StandAlone, and what the kernel then says.
DROPPED = {
    "standalone": "conn( WFReportParams -> StandAlone )",
    "split-brain": "Split-Brain detected but unresolved, dropping connection!",
    "secret": "Authentication of peer failed",
}
DEVICE_COUNTERS = (
    "size:163796 read:0 written:0 al-writes:0 bm-writes:0 upper-pending:0 lower-pending:0 al-suspended:no blocked:no"
)


class Watched:
    """What an events2 has said of one resource, with DRBD 8.4's words."""

    def __init__(self, name: str) -> None:
        self.name = f"name:{name}"
        self.resource = name
        self.peer = f"name:{name} peer-node-id:0"
        self.volume = f"name:{name} volume:0 minor:{minor(kernel(name)['device'])}"
        self.before = view(name)

    def dump(self, verb: str) -> list[str]:
        """All of it: `exists` in a dump, `create` when it comes later."""
        connection, replication, disk, peer_disk = self.before
        alone = connection == "StandAlone"
        name = "" if alone else " conn-name:peer"
        lines = [
            f"{verb} resource {self.name} role:{kernel(self.resource)['role']} suspended:no write-ordering:flush",
            f"{verb} connection {self.peer}{name} connection:{connection} role:{role(connection)} congested:no",
            f"{verb} device {self.volume} disk:{disk} {DEVICE_COUNTERS}",
        ]
        if not alone:
            lines.append(f"{verb} peer-device {self.peer} conn-name:peer volume:0 {self.flow(replication, peer_disk)}")
        return lines

    def news(self) -> list[str]:
        """What has changed since."""
        now = view(self.resource)
        if now == self.before:
            return []
        was = self.before[0]
        connection, replication, disk, peer_disk = self.before = now
        both = f"{self.peer} conn-name:peer"
        lines = []
        if connection == "StandAlone":
            if settings(plan("peer", self.resource)).get("outcome") == "split-brain":
                lines += [f"call helper {both} helper:{name}" for name in ("initial-split-brain", "split-brain")]
            return [
                *lines,
                f"change connection {both} connection:Disconnecting",
                f"destroy peer-device {both} volume:0",
                f"destroy connection {both}",
            ]
        if was == "StandAlone":
            # A connection that went StandAlone was taken away; it comes back as what it was.
            lines.append(f"create connection {both} connection:StandAlone role:Unknown congested:no")
            lines.append(f"create peer-device {both} volume:0 {self.flow('Off', 'DUnknown')}")
        if (was, connection) == ("Connected", "Connecting"):
            lines.append(f"change connection {both} connection:NetworkFailure role:Unknown")
        return [
            *lines,
            f"change connection {both} connection:{connection} role:{role(connection)}",
            f"change device {self.volume} disk:{disk}",
            f"change peer-device {both} volume:0 {self.flow(replication, peer_disk)}",
        ]

    def end(self) -> list[str]:
        """It was taken down."""
        lines = [f"destroy device {self.volume}", f"destroy resource {self.name}"]
        if self.before[0] != "StandAlone":
            both = f"{self.peer} conn-name:peer"
            lines[:0] = [f"destroy peer-device {both} volume:0", f"destroy connection {both}"]
        return lines

    def flow(self, replication: str, peer_disk: str) -> str:
        """Keys of a peer-device."""
        done = settings(plan("peer", self.resource)).get("resync", "50.00") if replication.startswith("Sync") else ""
        text = f"replication:{replication} peer-disk:{peer_disk} resync-suspended:no received:0 sent:0"
        return text + f" out-of-sync:{81898 if done else 0} pending:0 unacked:0" + (f" done:{done}" if done else "")


def events(resource: str, follow: bool, timestamps: bool) -> None:
    """The dump as DRBD 8.4 has it, then the changes; of one resource, or of all."""

    def say(lines: list[str]) -> None:
        head = time.strftime("%Y-%m-%dT%H:%M:%S.000000+00:00 ", time.gmtime()) if timestamps else ""
        if lines:
            print("".join(f"{head}{line}\n" for line in lines), end="", flush=True)

    def there() -> list[str]:
        return [name for name in resources() if resource in ("", name)]

    watched = {name: Watched(name) for name in there()}
    say([line for one in watched.values() for line in one.dump("exists")] + ["exists -"])
    while follow:
        time.sleep(0.01)
        names = there()
        for name in sorted(set(watched) - set(names)):
            say(watched.pop(name).end())
        for name in names:
            try:
                if name in watched:
                    say(watched[name].news())
                else:
                    watched[name] = Watched(name)
                    say(watched[name].dump("create"))
            except (Refusal, KeyError):
                continue  # it went just now


def role(connection: str) -> str:
    """The peer's, which is only known while it is connected."""
    return "Primary" if connection == "Connected" else "Unknown"


# OCFS2 and O2CB: the state is the fake configfs itself.


def o2cb(arguments: list[str]) -> None:
    """`register-cluster`, `unregister-cluster`."""
    action, cluster = arguments
    perform("o2cb", action, cluster)
    place = f"{CONFIGFS}/{cluster}"
    if action == "register-cluster":
        if not os.path.exists("/sys/fs/ocfs2/cluster_stack"):
            raise Refusal(1, "o2cb: Unable to access cluster service while registering cluster")
        for stanza in read("/etc/ocfs2/cluster.conf").split("\n\n"):
            if not stanza.startswith("node:"):
                continue
            lines = [line.partition("=") for line in stanza.splitlines()[1:]]
            keys = {key.strip(): value.strip() for key, _, value in lines}
            where = f"{place}/node/{keys['name']}/"
            write(where + "num", keys["number"] + "\n")
            write(where + "ipv4_address", keys["ip_address"] + "\n")
            write(where + "ipv4_port", keys["ip_port"] + "\n")
            write(where + "local", str(int(keys["name"] == os.uname().nodename)) + "\n")
        write(f"{place}/heartbeat/mode", "local\n")
        write(f"{place}/heartbeat/dead_threshold", "31\n")
        for name in ("idle_timeout_ms", "keepalive_delay_ms", "reconnect_delay_ms"):
            write(f"{place}/{name}", "1\n")
    elif action == "unregister-cluster":
        if any(os.path.exists(f"{place}/heartbeat/{name}/blocks") for name in os.listdir(place + "/heartbeat")):
            raise Refusal(1, "o2cb: Unable to stop cluster as heartbeat region still active")
        shutil.rmtree(place)
    else:
        raise Refusal(1, f"stand-in: no o2cb {action}")


def mount_ocfs2(arguments: list[str]) -> None:
    """Called by mount(8): `DEVICE DIRECTORY -o OPTIONS`.  The file system is a tmpfs with the device's name."""
    device, directory = arguments[:2]
    options = arguments[arguments.index("-o") + 1] if "-o" in arguments else "rw"
    perform("mount.ocfs2", "mount", device)
    owner = [name for name in resources() if kernel(name)["device"] == device]
    if not owner or kernel(owner[0])["role"] != "Primary":
        raise Refusal(1, f"mount.ocfs2: Wrong medium type while opening device {device}")
    clusters = os.listdir(CONFIGFS) if os.path.isdir(CONFIGFS) else []
    if not clusters:
        raise Refusal(1, "mount.ocfs2: Unable to access cluster service while trying initialize cluster")
    table = read("/proc/self/mountinfo").splitlines()
    if any(f" {directory} " in line and f" - tmpfs {device} " in line for line in table):
        raise Refusal(1, f"mount.ocfs2: Device or resource busy while mounting {device} on {directory}")
    kept = ",".join(word for word in options.split(",") if word in ("rw", "ro", "noatime"))
    # _netdev is noted by libmount: to systemd ocfs2 is a network file system by its name, a tmpfs is not, and it
    # would order the mount before local-fs.target as soon as it reads its type from the mount table.
    run("/bin/mount", "-i", "-t", "tmpfs", "-o", kept + ",_netdev", device, directory)
    write(f"{CONFIGFS}/{clusters[0]}/heartbeat/{os.path.basename(device)}/blocks", "1\n")


def umount(arguments: list[str]) -> None:
    """The real umount, with a note in the log when it concerns us."""
    device = ""
    for line in read("/proc/self/mountinfo").splitlines():
        head, _, tail = line.partition(" - ")
        if head.split()[4] in arguments and tail.split()[1].startswith("/dev/drbd"):
            device = tail.split()[1]
    if device:
        perform("umount", "umount", device)
    run("/bin/umount.real", *arguments)
    if device:
        for cluster in os.listdir(CONFIGFS):
            shutil.rmtree(f"{CONFIGFS}/{cluster}/heartbeat/{os.path.basename(device)}", ignore_errors=True)


def modprobe(arguments: list[str]) -> None:
    """Makes what the module would make in sysfs; a module that the plan refuses is not there."""
    for name in (word for word in arguments if not word.startswith("-")):
        perform("modprobe", "load", name)
        write(f"/sys/module/{name}/refcnt", "0\n")
        if name == "drbd":
            write("/sys/module/drbd/version", "8.4.11\n")
            if plan("kernel-log"):
                # Not before: until now PID 1 and the generator have written to the real one, which nobody can read.
                write(KERNEL_LOG, "")
                run("/bin/mount", "--bind", KERNEL_LOG, "/dev/kmsg")
        if name == "configfs":
            os.makedirs("/sys/kernel/config", exist_ok=True)
        if name == "ocfs2_stack_o2cb":
            write("/sys/fs/ocfs2/cluster_stack", "o2cb\n")
            os.makedirs(CONFIGFS, exist_ok=True)


def network(arguments: list[str]) -> None:
    """Called by the units that stand for the network."""
    perform("network", arguments[0], arguments[1])
    if arguments[0] == "up" and plan("address"):
        run("/sbin/ip", "address", "add", plan("address") + "/32", "dev", "lo")


TOOLS = {
    "drbdadm": drbdadm,
    "drbdsetup": drbdsetup,
    "losetup": losetup,
    "modprobe": modprobe,
    "mount.ocfs2": mount_ocfs2,
    "network": network,
    "o2cb": o2cb,
    "umount": umount,
}


def main() -> int:
    """Be the tool under whose name it was called."""
    name = os.path.basename(sys.argv[0])
    os.makedirs(PLACE, exist_ok=True)
    os.makedirs(STATE + "/count", exist_ok=True)
    said, code = "", 0
    try:
        TOOLS[name](sys.argv[1:])
    except Refusal as refusal:
        said, code = str(refusal), refusal.code
        if said:
            print(said, file=sys.stderr)
    for call in performed:
        log("-", f"{call} = {code}")
    return code


if __name__ == "__main__":
    sys.exit(main())
