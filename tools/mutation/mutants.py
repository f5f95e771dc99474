"""Every mutant of a module's source: mutmut's operators, also where mutmut leaves code alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode


@dataclass(frozen=True)
class Mutant:
    """One change to a module.

    Attributes
    ----------
    number : int
        Counts the mutants of the module, in the order of the source.
    line : int
        Where the changed expression or statement begins.
    was, now : str
        The changed lines before and after, stripped; what the explanation of a survivor names.
    source : str
        The whole module with the change.
    """

    number: int
    line: int
    was: str
    now: str
    source: str


class _Visitor(MutationVisitor):
    """Mutmut skips decorated functions, because its trampolines cannot take their place; we write whole files."""

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        return not isinstance(node, cst.FunctionDef) and super()._skip_node_and_children(node)


def mutants(source: str) -> Iterator[Mutant]:
    """The mutants of ``source``. Annotations, docstrings, decorators and ``len`` stay as they are, as in mutmut."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor(mutation_operators, IgnoredCode(set(), set(), set()))
    wrapper.visit(visitor)
    places = wrapper.resolve(PositionProvider)
    for number, mutation in enumerate(visitor.mutations):
        changed = wrapper.module.deep_replace(mutation.original_node, mutation.mutated_node).code
        was, now = _difference(source, changed)
        place = places.get(mutation.original_node)
        yield Mutant(number, place.start.line if place else 0, was, now, changed)


def _difference(before: str, after: str) -> tuple[str, str]:
    """The lines that are not the same, as one text each."""
    old, new = before.splitlines(), after.splitlines()
    head = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    tail = next(
        (i for i, (a, b) in enumerate(zip(old[head:][::-1], new[head:][::-1], strict=False)) if a != b),
        min(len(old), len(new)) - head,
    )
    return tuple(" ".join(line.strip() for line in lines[head : len(lines) - tail]) for lines in (old, new))
