"""Records, settings, captions and published numbers whose every text is an attack, for tests of what shows them."""

import copy
import json

import numpy as np
from html_pages import EVIL, SVG
from record_example import example

from parmesan_cagem import config, records
from parmesan_cagem.errors import UserError
from parmesan_cagem.report import paper, sprites

# Markup, a formula of a spreadsheet, a command of LaTeX, mathtext that does not parse, a cell's end, an escape code.
TEXTS = (
    *EVIL,
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    r"\input{/etc/passwd}\write18{id}%",
    r"$\frac{$",
    "| `x` | [a](javascript:window.evil=1) ![b](http://127.0.0.1:9/b.png)",
    "\x1b]0;title\x07\u202e",
)
ALL = " ".join(TEXTS)
# A folder's name: no slash, and 255 bytes at most.
FOLDERS = (
    "<img src=x onerror=window.evil=1>",
    '"><svg onload=alert(1)>',
    "$\\frac{$ %n ${x} `id` $(id)",
    "javascript:evil",
)


def leaves(value, path=()):
    """Path and value of every text in a tree of dicts and lists."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in pairs:
        yield from leaves(child, (*path, key))
    if isinstance(value, str):
        yield path, value


def put(tree, path, value):
    *parents, leaf = path
    for key in parents:
        tree = tree[key]
    tree[leaf] = value


def record(settings_too):
    """A record with :data:`ALL` wherever the schema allows any text, and the paths of those places.

    ``settings_too``: in ``config`` as well; without, it is the record of a run that fills a cell of a table.
    """
    made = example()
    made["config"] = config.experiment("short", labels=100, class_bn="q").to_dict()
    made["warnings"], attacked = ["a warning"], []
    for path, _ in list(leaves(made)):
        if path[0] == "config" and not settings_too:
            continue
        trial = copy.deepcopy(made)
        put(trial, path, ALL)
        try:
            records.validate(trial)
        except UserError:
            continue  # a digest, a time: its form is the schema's
        if settings_too or path not in (("model",), ("dataset", "name")):  # these two choose the row
            made = trial
            attacked.append(path)
    if settings_too:
        made["config"] |= {text: text for text in TEXTS}
    return made, attacked


def published():
    """The published numbers, every text of theirs an attack; the keys and settings that cells are found by stay."""
    content = json.loads(paper.CHECKOUT.read_text())
    kept = {"cell", "quantity", "reference"}
    for path, text in list(leaves(content)):
        if not kept & set(map(str, path)) and path[-1] not in kept:
            put(content, path, f"=1+1 {text} {ALL}")
    return content


def results(folder):
    """Runs, figures and published numbers below ``folder``: (runs, figures, paper)."""
    runs, figures = folder / "runs", folder / "figures"
    for name, settings_too in zip(FOLDERS, (True, False, True, False), strict=True):
        (runs / name).mkdir(parents=True)
        (runs / name / "record.json").write_text(json.dumps(record(settings_too)[0]))
        (runs / name / "samples.png").write_bytes(sprites.sheet(np.zeros((4, 4)), 2))
    (runs / ALL[:60].replace("/", "_")).mkdir()
    figures.mkdir()
    script = b"<script>parent.evil=1;window.evil=1;fetch('http://127.0.0.1:9/')</script></svg>"
    for name in ("figure3", "figure5", *(f"curves-{name}" for name in FOLDERS)):
        (figures / f"{name}.svg").write_bytes(SVG.replace(b"</svg>", script))
    captions = {name: {"caption": ALL, "runs": [*TEXTS], "files": [ALL]} for name in ("figure3", "figure5")}
    (figures / "captions.json").write_text(json.dumps(captions | {ALL: {"caption": ALL}}))
    (folder / "paper.json").write_text(json.dumps(published()))
    return runs, figures, folder / "paper.json"
