"""What all helpers share: their settings, the record of what was started, and how they end."""

import posix
import sys

from drbdocfs_boot.exits import EX_CONFIG, EX_SOFTWARE, EX_USAGE
from drbdocfs_boot.tools import records
from drbdocfs_boot.tools.failure import Failure
from drbdocfs_boot.tools.notify import status
from drbdocfs_boot.tools.system import environment

TYPE_CHECKING = False  # as typing has it, whose import would be paid for at each start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

ENOSPC = 28  # the module errno costs more than its name is worth
NO_SPACE = "make room there ('df -h', 'df -i'), then 'systemctl start drbdocfs.target'"
NOT_FOLLOWED = "drbdocfs-follow.service cannot go on with it, for no record of it can be written"
NOT_MARKED = "the split brain cannot be remembered over a reboot"


class Layer:
    """One layer of one stack (or cluster): ``instance`` is the unit's instance name.

    ``settings`` come from the unit's environment at start (drop-ins of the generator); at stop the record that the
    start left in /run comes first, because the configuration may have changed or broken meanwhile, and what was
    started is what has to be stopped.
    """

    def __init__(self, kind: str, instance: str) -> None:
        self.kind = kind
        self.instance = instance

    def setting(self, key: str) -> str:
        """A setting from the environment; raises Failure (78) when the generator gave none."""
        value = environment("DRBDOCFS_" + key)
        if not value:
            raise Failure(
                EX_CONFIG,
                f"nothing is configured for {self.kind} of '{self.instance}' ({key} is not set)",
                "write the stack to /etc/drbdocfs/drbdocfs.conf, run 'systemctl daemon-reload', and start the target"
                " drbdocfs@STACK.target rather than this unit",
            )
        return value

    def seconds(self, key: str) -> float:
        """A setting in microseconds, as seconds."""
        return int(self.setting(key)) / 1_000_000

    def remember(self, **values: str) -> None:
        """Record what is about to be started, so that it can be stopped whatever happens to the configuration."""
        records.write(self.instance, self.kind, **values)

    def recorded(self, *keys: str) -> "list[str]":
        """The recorded values; for a layer without a record (started by an older version) the settings."""
        known = records.read(self.instance, self.kind) or {}
        return [known.get(key) or self.setting(key) for key in keys]

    def leave(self, write: "Callable[[], None]", otherwise: str) -> bool:
        """Write a record of a failure and wake the follow service; False, after ``otherwise`` was said, when it could
        not be written: why the layer fails is more important, and must be told all the same.
        """
        from drbdocfs_boot.tools import wake  # only who fails leaves one

        try:
            write()
        except OSError as error:
            self.say(f"{otherwise}: {error}")
            return False
        finally:
            wake.send(wake.FOLLOW)
        return True

    def forget(self) -> None:
        """Remove the record, after a stop."""
        records.remove(self.instance, self.kind)

    def say(self, text: str) -> None:
        """A line for the journal, and the unit's status."""
        status(text)
        print(f"{self.instance}: {text}", flush=True)


def users_of(device: str, mounted: bool = False) -> str:
    """Who has the device open, or uses the file system on it, for the message of a failure; "" when nobody does."""
    from drbdocfs_boot.tools import holders  # only who fails looks for them

    return holders.brief(holders.of_mount(device, besides=False) if mounted else holders.of_device(device))


def end(code: int) -> "NoReturn":
    """End the process at once, with what was printed.

    The interpreter would first put away each of its modules, a tenth of all that a helper costs; nothing of ours waits
    for that, and the next layer waits for this one.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, AttributeError):
            pass  # nobody reads it, or it was closed from the start: no reason to fail a layer that is up
    posix._exit(code)


def main(layer_module: object, kind: str) -> int:
    """Entry point of the scripts in libexec: ``KIND start|stop INSTANCE``."""
    argv = sys.argv[1:]
    if len(argv) != 2 or argv[0] not in ("start", "stop") or not hasattr(layer_module, argv[0]):
        print(f"usage: {kind} start|stop INSTANCE", file=sys.stderr)
        return EX_USAGE
    action, instance = argv
    if "/" in instance or instance.startswith(".") or not instance.isprintable():
        print(f"{kind}: '{instance!r}' is no instance name", file=sys.stderr)
        return EX_USAGE
    try:
        # A status of success other than 0 tells more (the unit names it in SuccessExitStatus=).
        code: "int | None" = getattr(layer_module, action)(Layer(kind, instance))
    except Failure as failure:
        status(failure.message)
        # <3>: priority "error" for the journal, see sd-daemon(3).
        print(f"<3>{instance}: {failure.message}", file=sys.stderr)
        if failure.advice:
            print(f"<3>{instance}: what to do: {failure.advice}", file=sys.stderr)
        return failure.status
    except OSError as error:
        status(str(error))
        print(f"<3>{instance}: {kind} {action}: {error}", file=sys.stderr)
        if error.errno == ENOSPC:
            print(f"<3>{instance}: what to do: {NO_SPACE}", file=sys.stderr)
        return EX_SOFTWARE
    except Exception as error:
        from drbdocfs_boot import mistake

        text = mistake.words(error)
        status(text)
        print(f"<3>{instance}: {kind} {action}: {text}", file=sys.stderr)
        return EX_SOFTWARE
    return code or 0
