"""The records that tests of the tables are made of, and how to find a cell or a note in a table."""

from pathlib import Path

from fake_runs import record, runs

from parmesan_cagem.report import paper, tables

NASTY = r"a|b <c> & d_e \f{g} 50% $h$ #i [j] `k` *l* ~m ^n"
MADE = (
    record("m0", labels=0, bound=-82.004),
    record("m100-1", bound=-79.5),
    record("m100-2", seed=2, bound=-79.9),
    record("s50", "short", labels=50, bound=-84.0, class_bn="q"),
    record("d20", "demo", labels=20, bound=-90.0, put={"git.dirty": True, "warnings": [NASTY]}),
    *(record(f"t{s}", warmup_epochs=0, label_seed=s, error=(1.5 * s, 2.0 * s)) for s in (1, 2, 3)),
    record("t20", warmup_epochs=0, labels=20, error=(10.0, 20.0)),
    record("z2", z2_dim=2),
)


def build(*made, mixed=False):
    """The tables by name."""
    return {table.name: table for table in tables.build(runs(Path("x"), *made), paper.load(), mixed)}


def cell(table, label, column):
    """The cell of the first row that begins with ``label``."""
    titles = [title.title for title in table.columns]
    row = next(row for row in table.rows if row.cells[0].startswith(label))
    return row.cells[next(i for i, title in enumerate(titles) if title.startswith(column))]


def row_of(table, label):
    return next(row for row in table.rows if row.cells[0].startswith(label))


def notes_of(table, label):
    return [table.notes[number - 1] for number in row_of(table, label).notes]
