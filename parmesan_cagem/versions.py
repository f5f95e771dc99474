"""``python -m parmesan_cagem.versions``: every version that a number can depend on, in two columns."""

from __future__ import annotations

from parmesan_cagem import provenance


def table() -> str:
    """The list of :func:`parmesan_cagem.provenance.versions`, aligned."""
    rows = provenance.versions()
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {version}" for name, version in rows.items())


if __name__ == "__main__":
    print(table())
