"""What the units run: one module per layer, each with ``start`` and ``stop``; base and address are shared.

They are idempotent: run twice, or with the work already done by hand, they succeed; with something else in the
place they fail and say what stands there.  Standard library only, and as little of it as they can.
"""
