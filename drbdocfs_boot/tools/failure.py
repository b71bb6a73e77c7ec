"""The one exception of the boot path: what failed, with which exit status, and what to do next."""


class Failure(Exception):
    """``status`` is an exit status by sysexits(3); ``message`` says what and where; ``advice`` the next step."""

    def __init__(self, status: int, message: str, advice: str = "") -> None:
        super().__init__(message + (": " + advice if advice else ""))
        self.status = status
        self.message = message
        self.advice = advice
