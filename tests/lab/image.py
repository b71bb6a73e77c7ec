"""The lab's Debian image: built once without mounting anything, then kept in the cache by the hash of its inputs."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import apt, cache

PACKAGES = (
    "dbus", "drbd-utils", "e2fsprogs", "iproute2", "iputils-ping", "kmod", "less", "linux-image-amd64", "nftables",
    "ocfs2-tools", "openssh-client", "openssh-server", "procps", "python3", "python3-configobj", "python3-dbus-next",
    "python3-pystemd", "python3-rich", "rpm", "systemd-sysv", "udev", "util-linux",
)  # fmt: skip

# Debian's own housekeeping, which would only take time from a boot under emulation. The units of drbd-utils and
# ocfs2-tools are left as their packages leave them: what they do at boot and shutdown is part of what is tested.
MASKED = (
    "apt-daily-upgrade.timer", "apt-daily.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "systemd-pstore.service",
)  # fmt: skip

DISK_SIZE = "4G"
CONTROL_MAC = "52:54:00:00:01:"
REPLICATION_MAC = "52:54:00:00:02:"
CONTROL_ADDRESS = "10.0.2.15"
# The addresses of the two nodes, by number, in the network of DRBD and O2CB.
REPLICATION_ADDRESS = {1: "10.181.76.10", 2: "10.181.76.11"}


def _network(mac: str, address: str) -> str:
    # No router, no IPv6: waiting for either would only hold back network-online.target.
    return f"[Match]\nMACAddress={mac}\n\n[Network]\nAddress={address}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"


FILES = {
    "etc/fstab": "/dev/vda / ext4 errors=remount-ro 0 1\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    # Empty, not absent: absent means "first boot" to systemd, which would then apply all presets over what the
    # packages have enabled and disabled. Each node's number comes on its kernel command line.
    "etc/machine-id": "",
    "etc/systemd/network/10-control.network": _network(f"{CONTROL_MAC}01 {CONTROL_MAC}02", f"{CONTROL_ADDRESS}/24"),
    **{
        f"etc/systemd/network/20-replication-{number}.network": _network(f"{REPLICATION_MAC}0{number}", f"{address}/24")
        for number, address in REPLICATION_ADDRESS.items()
    },
    # Kept on disk often enough that a boot that ended in a power cut can still be read.
    "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=persistent\nSyncIntervalSec=10s\nSystemMaxUse=64M\n",
    # Whole unit names on the console, for tests to look for: with descriptions it cuts lines at 80 columns.
    "etc/systemd/system.conf.d/lab.conf": "[Manager]\nShowStatus=yes\nStatusUnitFormat=name\n",
    # networkd's first question to the kernel would load it: a second of each boot for a machine without radio.
    "etc/modprobe.d/lab.conf": "blacklist cfg80211\n",
    # Without PAM a login starts no session and no user manager, which takes many seconds under emulation.
    "etc/ssh/sshd_config.d/lab.conf": "UsePAM no\nUseDNS no\nHostKey /etc/ssh/ssh_host_ed25519_key\n"
    "PermitRootLogin prohibit-password\nMaxSessions 64\nMaxStartups 64\nPrintMotd no\n",
}

# In place before the kernel package runs initramfs-tools: a tenth of the usual size, and it loads at once.
EARLY_FILES = {
    "etc/initramfs-tools/conf.d/lab": "MODULES=list\nCOMPRESS=gzip\n",
    "usr/share/initramfs-tools/modules.d/lab": "virtio_pci\nvirtio_blk\nvirtio_net\nvirtio_rng\next4\n",
}


@dataclass(frozen=True)
class Image:
    """A finished entry of the cache; everything in it is read-only for the nodes."""

    folder: Path
    release: str

    @property
    def disk(self) -> Path:
        """The root file system, raw ext4 without a partition table."""
        return self.folder / "root.ext4"

    @property
    def kernel(self) -> Path:
        return self.folder / "kernel"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"

    @property
    def root_tar(self) -> Path:
        """The same tree as a tar, for tests that run its systemd in namespaces."""
        return self.folder / "root.tar"

    @property
    def key(self) -> Path:
        """The private ssh key that root of every node accepts."""
        return self.folder / "id"

    @property
    def known_hosts(self) -> Path:
        """The nodes' host key, under the alias `lab`."""
        return self.folder / "known_hosts"


def _run(command: list[str], log: Path) -> None:
    """Run it with its output in a file; raises RuntimeError with the end of that output."""
    with log.open("ab") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    if done.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n" + "\n".join(tail))


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _bootstrap(work: Path, root: Path, release: str) -> None:
    early = work / "early"
    _write(early, EARLY_FILES)
    command = [
        "mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", "--architectures=amd64",
        "--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
        f"--include={','.join(PACKAGES)}",
        f"--essential-hook=sync-in {early} /",
        *[f"--aptopt={line}" for line in apt.options()],
        apt.SUITES[release], str(root), *apt.sources(release),
    ]  # fmt: skip
    _run(command, work / "build.log")
    shutil.rmtree(early)


def _configure(work: Path, root: Path) -> None:
    _write(root, FILES)
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "var/log/journal").mkdir(exist_ok=True)
    for kind in ("rsa", "ecdsa"):
        for path in root.glob(f"etc/ssh/ssh_host_{kind}_key*"):
            path.unlink()
    log = work / "build.log"
    enabled = ["systemd-networkd.service", "systemd-networkd-wait-online.service"]
    _run(["chroot", str(root), "systemctl", "enable", *enabled], log)
    _run(["chroot", str(root), "systemctl", "mask", *MASKED], log)


def _keys(work: Path, root: Path) -> None:
    _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(work / "id")], work / "build.log")
    allowed = root / "root/.ssh"
    allowed.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(work / "id.pub", allowed / "authorized_keys")
    host = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="ascii")
    (work / "known_hosts").write_text("lab " + " ".join(host.split()[:2]) + "\n", encoding="ascii")


def _add_modules(work: Path, root: Path, extra: Path) -> None:
    """Put the *.ko files of a folder where modprobe prefers them to the kernel package's own."""
    for tree in (root / "lib/modules").iterdir():
        shutil.copytree(extra, tree / "updates", dirs_exist_ok=True)
        _run(["chroot", str(root), "depmod", tree.name], work / "build.log")


def _extract_boot(work: Path, root: Path) -> None:
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    (initrd,) = (root / "boot").glob("initrd.img-*")
    shutil.copy(kernel, work / "kernel")
    packed = initrd.read_bytes()
    # Debian 12's is packed as a whole: unpacked here, in no time, instead of under emulation at every boot.
    (work / "initrd").write_bytes(gzip.decompress(packed) if packed.startswith(b"\x1f\x8b") else packed)


def _build(work: Path, release: str, extra: Path | None, say: Callable[[str], None]) -> None:
    root = work / "root"
    say(f"image: Debian {release} ({apt.SUITES[release]}) with mmdebstrap, about a minute")
    _bootstrap(work, root, release)
    _configure(work, root)
    _keys(work, root)
    if extra is not None:
        _add_modules(work, root, extra)
    _extract_boot(work, root)
    say("image: disk and archive")
    log = work / "build.log"
    _run(["tar", "--create", f"--file={work}/root.tar", f"--directory={root}", "--numeric-owner", "--xattrs", "."], log)
    _run(["mke2fs", "-q", "-t", "ext4", "-L", "lab", "-d", str(root), str(work / "root.ext4"), DISK_SIZE], log)
    shutil.rmtree(root)


def _folder_parts(extra: Path) -> list[bytes]:
    """Names and contents of every file below a folder."""
    parts = []
    for path in sorted(extra.rglob("*")):
        if path.is_file():
            parts.append(str(path.relative_to(extra)).encode())
            parts.append(hashlib.sha256(path.read_bytes()).digest())
    return parts


def image(release: str = "12", extra_modules: Path | None = None, say: Callable[[str], None] = print) -> Image:
    """The image of a Debian release (12, 13, sid), built now if the cache does not have it.

    `extra_modules` is a folder of *.ko files for that release's kernel. Raises NoMirror, ValueError or RuntimeError
    (with the end of the tool's output).
    """
    if release not in apt.SUITES:
        raise ValueError(f"no such release: {release}; known are {', '.join(apt.SUITES)}")
    if extra_modules is not None and not any(extra_modules.rglob("*.ko*")):
        raise ValueError(f"{extra_modules}: no kernel module (*.ko) in it")
    here = Path(__file__)
    parts = [release.encode(), here.read_bytes(), here.with_name("apt.py").read_bytes()]
    parts += _folder_parts(extra_modules) if extra_modules is not None else []
    name = f"image-{release}-{cache.digest(parts)}"
    return Image(cache.build_once(name, lambda work: _build(work, release, extra_modules, say)), release)
