"""Reading a page of HTML as a strict browser would, and runs to make one from."""

import json
from html.parser import HTMLParser

import numpy as np
from record_example import example

from parmesan_cagem import config
from parmesan_cagem.report import page, sprites
from parmesan_cagem.report.markup import Html
from parmesan_cagem.report.sprites import Plane

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><rect width="40" height="20" fill="navy"/></svg>'
EVIL = (
    "<script>window.evil=1</script>",
    '"><img src=x onerror="window.evil=1">',
    "'><svg onload=window.evil=1>",
    "</script></style></title></noscript><script>window.evil=1</script>",
    "javascript:window.evil=1",
    "<!-- ${evil} $script &lt;b&gt; ]]>",
)


class Page(HTMLParser):
    """Elements with their attributes, the text of each kind of element, ids; refuses what does not nest."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts, self.ids = [], [], {}, []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), f"an attribute twice: {tag} {attrs}"
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in self.open:
            self.texts[tag][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def text_of(html):
    """The page that a report with this section is."""
    return page.fill(tables=Html(), figures=Html(), explorer=html, runs=Html()).decode()


def plane(classes=10, points=5, side=28, seed=0):
    """A made-up plane, each class with pictures of its own, and the arrays it was made from."""
    draws = np.random.default_rng(seed)
    images = draws.integers(64, size=(classes, points * points, side * side)) / 63  # the sheets' levels
    p = draws.dirichlet(np.full(classes, 0.3), points * points)
    sheets = tuple(sprites.sheet(of_class, points) for of_class in images)
    dots = draws.uniform(-3, 3, (20, 2))
    return Plane(sheets, sprites.quantised(p, points), dots, draws.integers(classes, size=20), 2), images, p


def run_folder(parent, name, change=None, **settings):
    """A run's folder with a record, samples and nothing else."""
    record = example()
    record["name"] = name
    record["config"] = config.experiment("short", **settings).to_dict()
    record["dataset"]["labelled"] = record["config"]["labels"]
    if change:
        change(record)
    (parent / name).mkdir(parents=True)
    (parent / name / "record.json").write_text(json.dumps(record))
    (parent / name / "samples.png").write_bytes(sprites.sheet(np.zeros((4, 4)), 2))
    return record


def evil_record(record):
    """Put markup and scripts into every string that the schema leaves free."""
    texts = " ".join(EVIL)
    for place in ("name", "device", "engine"):
        record[place] = texts
    record["dataset"].update(name=texts, source=texts)
    record["eval"].update(binarisation=texts, engine=texts, device=texts, versions={texts: texts})
    record["versions"] = {texts: texts}
    record["label_weight"].update(given=texts, given_p=texts)
    record["config"] = {texts: texts, "preset": texts, "label_weight": texts}
    record["warnings"] = list(EVIL)


def evil_row(record):
    """Markup that reaches the cells and notes of tables: the settings stay a run's that fills a row."""
    texts = " ".join(EVIL)
    record.update(name=texts, device=texts, engine=texts, warnings=[texts])
    record["eval"].update(binarisation=texts, device=texts)


def write_runs(parent):
    """Three runs, two of them evil; one without a record, one with a damaged one."""
    run_folder(parent, "mnist-cagem-100-short-s1", evil_row, labels=100, class_bn="q")
    run_folder(parent, "mnist-cagem-20-short-s1", labels=20)
    run_folder(parent, "<img src=x onerror=window.evil=1> & co", evil_record)
    (parent / "unfinished <b>").mkdir()
    (parent / "damaged").mkdir()
    (parent / "damaged" / "record.json").write_text("{}")
    return parent
