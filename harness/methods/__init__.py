"""Which methods there are: what each one does, who published it, which settings it has and which models it needs."""

from harness.methods.method import Method, method

__all__ = ["Method", "method"]
