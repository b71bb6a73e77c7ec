"""Faults of the network: at the boot, and in operation those that are not a lost link (rows_fencing.py)."""

from __future__ import annotations

import time

from . import fencing
from .fault import Case, fault
from .mending import start, stopped
from .node import Node
from .situations import CARD, LOGIN, RESOURCE_FILE, TARGET, late_address
from .stack import LAYERS, MOUNTPOINT, is_mounted

GROUP = "network"
_RULES = "/etc/lab.nft"
_UNIT = "/etc/systemd/system/lab-rules.service"
_ONLINE = "/etc/systemd/system/systemd-networkd-wait-online.service.d/lab.conf"


def _without_link(case: Case, *nodes: Node) -> None:
    """These nodes boot with the cable out; it is put in at the end of the row at the latest."""
    for node in nodes:
        case.afterwards(lambda node=node: node.set_link(True))  # type: ignore[misc]
    case.lab.both(lambda node: node.shutdown() if node in nodes else 0.0)
    for node in nodes:
        node.set_link(False)
        node.start()
    for node in nodes:
        case.boots(node)


@fault("cable-out-before-boot", "a login without the mount, its status says that the address is missing; up by itself"
       " when the cable is back after 60 s; the other writes on", group=GROUP, seconds=240)  # fmt: skip
def cable_out_before_boot(case: Case) -> None:
    case.short_limits()
    _without_link(case, case.two)
    case.says(case.two, "address")
    case.down_and_waiting(case.two)
    time.sleep(60)
    case.down_and_waiting(case.two)


@fault("cable-out-before-boot-of-both", "a login without the mount on both; up by themselves when the cable is back"
       " after 60 s", group=GROUP, seconds=280)  # fmt: skip
def cable_out_before_both(case: Case) -> None:
    case.short_limits()
    _without_link(case, case.one, case.two)
    for node in case.lab.nodes:
        case.says(node, "address")
        case.down_and_waiting(node)
    time.sleep(60)


def _rules_at_boot(case: Case, node: Node, port: int) -> None:
    """From before the network is up until the end of the row, a port is dropped."""
    table = (
        "table inet lab {\n"
        f"chain in {{ type filter hook input priority -300; tcp dport {port} drop; tcp sport {port} drop; }}\n"
        f"chain out {{ type filter hook output priority -300; tcp dport {port} drop; tcp sport {port} drop; }}\n}}\n"
    )
    node.put_text(_RULES, table)
    node.put_text(
        _UNIT,
        "[Unit]\nDefaultDependencies=no\nAfter=local-fs.target\nBefore=network-pre.target\nWants=network-pre.target\n"
        f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/sbin/nft -f {_RULES}\n"
        "[Install]\nWantedBy=sysinit.target\n",
    )
    node.run("systemctl daemon-reload; systemctl enable lab-rules.service 2>&1; sync")

    def undo() -> None:
        # O2CB may be resetting the node again and again.
        until = time.monotonic() + 240
        away = (
            f"systemctl disable lab-rules.service 2>&1; rm -f {_UNIT}; systemctl daemon-reload; sync;"
            " nft delete table inet lab 2>/dev/null || :"
        )
        while node.ask(away, 30) is None:
            assert time.monotonic() < until, f"{node.name} does not answer"
            time.sleep(2)

    case.afterwards(undo)


@fault("drbd-port-dropped-at-boot", "a login without the mount, its status names the peer and its port; up by itself"
       " when it is open; the other writes on", group=GROUP, seconds=240)  # fmt: skip
def drbd_port_at_boot(case: Case) -> None:
    case.short_limits()
    _rules_at_boot(case, case.two, 7789)
    case.two.shutdown()
    case.power_on(case.two)
    case.says(case.two, "waiting for server1 at 10.181.76.10:7789")
    case.down_and_waiting(case.two)


@fault("o2cb-port-dropped-at-boot", "OCFS2 does not let it mount; the other writes on, and it is up when the port is"
       " open", group=GROUP, seconds=400, back=420)  # fmt: skip
def o2cb_port_at_boot(case: Case) -> None:
    """O2CB may reset the machine here: it sees the other one's heartbeat, and cannot talk to it."""
    case.short_limits()
    resets = {node.name: node.resets for node in case.lab.nodes}

    def again() -> None:
        # A mount that has failed is not tried again by itself: what failed is not the wait.
        case.two.wait_connected()
        if case.two.ask("systemctl is-failed --quiet mnt-storage.mount", 10) is not None:
            case.two.run(f"systemctl start --no-block {TARGET}")
            case.note("started by hand after the mount had failed")

    case.afterwards(again)
    _rules_at_boot(case, case.two, 7777)
    case.two.shutdown()
    case.two.start()
    until = time.monotonic() + 180
    while time.monotonic() < until:
        case.must(fencing.state(case.two) != fencing.TOGETHER, "mounted on both without O2CB's connection")
        if case.wrong or case.two.ask("systemctl is-failed --quiet mnt-storage.mount", 10) is not None:
            break
        time.sleep(2)
    login = case.two.ask(f"systemctl is-active {' '.join(LOGIN)}", 20)
    said = (case.two.ask("drbdocfs status 2>&1; :", 30) or "(no answer)").splitlines()
    case.note(f"login: {'yes' if login else 'not yet'}; resets of server2: {case.two.resets - resets['server2']};"
              f" status: {' / '.join(line.strip() for line in said[:9])}")  # fmt: skip
    case.must(case.one.resets == resets["server1"], "server1 was reset")


@fault("loss-and-delay", "5 % of all packets lost and 100 ms of delay for 90 s: slow, but both write on and nobody is"
       " reset", group=GROUP, seconds=200)  # fmt: skip
def loss_and_delay(case: Case) -> None:
    resets = [node.resets for node in case.lab.nodes]
    for node in case.lab.nodes:
        node.run(f"modprobe sch_netem; {CARD}; tc qdisc add dev $card root netem delay 100ms loss 5%")
        case.afterwards(lambda node=node: node.ask(f"{CARD}; tc qdisc del dev $card root", 20))  # type: ignore[misc]
    time.sleep(90)
    now = time.monotonic()
    for node in case.lab.nodes:
        case.records.await_writes(node, now, 90)
    case.must([node.resets for node in case.lab.nodes] == resets, "a node was reset")
    case.note("; ".join(f"{node.name}: {fencing.state(node)}" for node in case.lab.nodes))


@fault("large-packets-dropped", "a black hole for packets above 600 bytes for 90 s: at most one is stopped, both come"
       " back", group=GROUP, seconds=330)  # fmt: skip
def large_packets_dropped(case: Case) -> None:
    # Acknowledgements and handshakes pass, data do not.
    rule = "ip saddr 10.181.76.0/24 ip length > 600 drop"
    table = f"table inet lab {{ chain in {{ type filter hook input priority -300; {rule}; }}\n}}\n"

    def begin(node: Node) -> None:
        node.put_text("/run/lab.nft", table)
        node.run("nft -f /run/lab.nft")

    resets = [node.resets for node in case.lab.nodes]
    # A node that was reset has no rules any more.
    case.afterwards(lambda: case.lab.both(lambda node: node.ask("nft delete table inet lab", 10)))
    case.lab.both(begin)
    time.sleep(90)
    lost = sum(node.resets > before for node, before in zip(case.lab.nodes, resets))
    case.must(lost < 2, "both were reset")
    case.note(f"{lost} reset; " + "; ".join(f"{node.name}: {fencing.state(node)}" for node in case.lab.nodes))


@fault("address-twice", "server2 has server1's address as well for 90 s: as a link that is cut, both come back",
       group=GROUP, seconds=330)  # fmt: skip
def address_twice(case: Case) -> None:
    resets = [node.resets for node in case.lab.nodes]
    case.afterwards(lambda: case.two.ask(f"{CARD}; ip address del {case.one.address}/24 dev $card", 20))
    case.two.run(f"{CARD}; ip address add {case.one.address}/24 dev $card")
    time.sleep(90)
    # With `survivor = none` both, when nothing gets through for longer than O2CB's limit.
    lost = sum(node.resets > before for node, before in zip(case.lab.nodes, resets))
    case.note(f"{lost} reset; " + "; ".join(f"{node.name}: {fencing.state(node)}" for node in case.lab.nodes))


# network-online.target


def _wait_online(case: Case, node: Node, command: str) -> None:
    node.put_text(_ONLINE, f"[Service]\nExecStart=\nExecStart={command}\n")
    node.run("systemctl daemon-reload; sync")

    def undo() -> None:
        node.run(f"rm {_ONLINE}; sync; systemctl daemon-reload", timeout=120)
        node.run("systemctl --no-block restart systemd-networkd-wait-online.service; systemctl reset-failed || :")

    case.afterwards(undo)


@fault("network-online-fails", "the stack goes on and comes up: its own wait for the address is enough", group=GROUP)
def network_online_fails(case: Case) -> None:
    _wait_online(case, case.two, "/bin/false")
    case.two.shutdown()
    case.power_on(case.two)
    case.must(case.two.ask("systemctl is-failed --quiet systemd-networkd-wait-online.service") is not None,
              "the wait for the network has not failed")  # fmt: skip
    fencing.await_together(case.lab, 60)


@fault("network-online-late", "as where some card has no link: the wait for the network fails after a minute, the stack"
       " goes on then and comes up", group=GROUP, seconds=260)  # fmt: skip
def network_online_late(case: Case) -> None:
    _wait_online(case, case.two, "/bin/sh -c 'sleep 60; exit 1'")
    case.two.shutdown()
    case.power_on(case.two)
    units = case.two.boot_times().units
    began = units["drbdocfs-wait@web.service"].began
    case.must(began > 60, f"the wait began at {began:.0f} s")
    attached = units["drbdocfs-attach@web.service"].active
    case.must(0 < attached < began - 20, f"attached at {attached:.0f} s, not before the network was online")
    fencing.await_together(case.lab, 60)


# Addresses and names


@fault("address-late", "its address comes 45 s after the network is said to be online, later than the attach waits for"
       " it: DRBD connects and O2CB is registered then, within the boot", group=GROUP, seconds=240)  # fmt: skip
def address_late(case: Case) -> None:
    node = case.two
    case.afterwards(late_address(node, 45))
    node.shutdown()
    case.power_on(node)
    case.must(is_mounted(node), f"{node.name}: {MOUNTPOINT} is not mounted at the end of its boot")
    units = node.boot_times().units
    began = units[LAYERS["wait"]].began
    for layer in ("wait", "o2cb"):
        case.must(units[LAYERS[layer]].active > began + 10, f"the {layer} did not wait for the address")


@fault("address-between", "its address comes later than the attach waits for it, and before network-online.target,"
       " which the wait comes after: DRBD connects all the same, within the boot",
       group=GROUP, seconds=240)  # fmt: skip
def address_between(case: Case) -> None:
    node = case.two
    case.afterwards(late_address(node, 50, online=False))
    node.shutdown()
    case.power_on(node)
    case.must(is_mounted(node), f"{node.name}: {MOUNTPOINT} is not mounted at the end of its boot")
    said = node.run("journalctl -b --no-pager -o cat -u 'drbdocfs-*@web.service'")
    case.must("attaching without connecting" in said, "the address came before the attach had given it up")
    case.must("is there: connecting r0 again" in said, "the wait has not connected")


@fault("o2cb-address-after-the-boot", "O2CB has an address of its own, which comes after the boot has given it up:"
       " a login without the mount, named; mounted by itself when it comes", group=GROUP, seconds=420)  # fmt: skip
def o2cb_address_after_the_boot(case: Case) -> None:
    cluster_conf = "/etc/ocfs2/cluster.conf"
    network = f"/etc/systemd/network/20-replication-{case.one.number}.network"
    its_own = case.two.address.replace(".76.", ".77.")

    def undo() -> None:  # by boots: a cluster that is online keeps its addresses
        case.lab.both(lambda node: node.run(f"sed -i 's/181[.]77[.]/181.76./' {cluster_conf}; sync"))
        case.one.run(f"sed -i '/^Address=10[.]181[.]77[.]/d' {network}; sync")
        case.lab.both(Node.shutdown)
        case.power_on(*case.lab.nodes)

    case.short_limits()
    case.afterwards(undo)
    case.lab.both(lambda node: node.run(f"sed -i 's/181[.]76[.]/181.77./' {cluster_conf}; sync"))
    own = case.one.address.replace(".76.", ".77.")
    case.one.run(f"sed -i '/^Address=/a Address={own}/24' {network}; sync")
    case.lab.both(Node.shutdown)
    case.power_on(*case.lab.nodes)
    case.must(is_mounted(case.one), f"{case.one.name}: {MOUNTPOINT} is not mounted")
    case.must(not is_mounted(case.two), f"{case.two.name}: {MOUNTPOINT} is mounted without O2CB's address")
    case.says(case.two, its_own)
    case.two.run(f"{CARD}; ip address add {its_own}/24 dev $card")
    began = time.monotonic()
    fencing.await_together(case.lab, 90)
    case.note(f"mounted {time.monotonic() - began:.0f} s after the address had come")
    said = case.two.run("journalctl -b --no-pager -o cat -t drbdocfs-follow", check=False)
    case.must(f"O2CB's address {its_own} has come" in said, "the follow service has not said that it starts it")


@fault("peer-has-another-address", "a login without the mount on the one that has it, its status names the address that"
       " is missing; the other writes on; up when it is back", group=GROUP, seconds=260)  # fmt: skip
def other_address(case: Case) -> None:
    case.short_limits()
    place = f"/etc/systemd/network/20-replication-{case.two.number}.network"
    case.two.run(f"sed -i s/{case.two.address}/10.181.76.77/ {place}; sync")

    def undo() -> None:
        case.two.run(f"sed -i s/10.181.76.77/{case.two.address}/ {place}; sync; networkctl reload;"
                     f" {CARD}; networkctl reconfigure $card")  # fmt: skip

    case.afterwards(undo)
    case.two.shutdown()
    case.power_on(case.two)
    case.says(case.two, case.two.address)
    case.down_and_waiting(case.two)


def _edited(case: Case, node: Node, sed: str, adjust: bool = True) -> None:
    """DRBD's configuration of one node is edited until the end of the row; with `adjust`, what runs follows it then."""
    node.run(f"cp {RESOURCE_FILE} /root/lab.res; sed -i '{sed}' {RESOURCE_FILE};"
             f" if cmp -s {RESOURCE_FILE} /root/lab.res; then exit 1; fi; sync")  # fmt: skip
    then = "drbdadm adjust r0" if adjust else "true"
    case.afterwards(lambda: node.run(f"cp /root/lab.res {RESOURCE_FILE}; sync; {then}"))


@fault("peer-address-wrong-on-one-side", "it comes up all the same, for DRBD 8.4 takes the connection that the other"
       " side makes", group=GROUP, seconds=260)  # fmt: skip
def wrong_address(case: Case) -> None:
    _edited(case, case.two, f"s/{case.one.address}:/10.181.76.77:/", adjust=False)
    case.reboot(case.two)
    fencing.await_together(case.lab)
    stopped(case, case.two)
    case.put_back()
    start(case.two)


@fault("peer-name-wrong-on-one-side", "it comes up all the same, for DRBD 8.4 goes by addresses; check has something to"
       " say", group=GROUP, seconds=220)  # fmt: skip
def wrong_name(case: Case) -> None:
    _edited(case, case.two, "s/on server1/on server3/")
    case.reboot(case.two)
    checked = case.two.execute("drbdocfs check 2>&1", 120).out
    case.must("server3" in checked, f"check does not name server3: {checked[-500:]}")
    fencing.await_together(case.lab)
