"""Words for a mistake of our own: one line that can be reported, not a traceback in the middle of a boot.

Builtins only: the generator imports this.
"""


def words(error: Exception) -> str:
    """Where it happened (file and line) and what it was."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else "?"
    return f"internal error in {where}: {type(error).__name__}: {error}; please report it"
