"""The runs: a table of all, and a page each, shown by its fragment (``#run-NAME``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from parmesan_cagem import records
from parmesan_cagem.config import Experiment
from parmesan_cagem.config import usual as usual_settings
from parmesan_cagem.presets import PRESETS
from parmesan_cagem.report import charts, prices
from parmesan_cagem.report.charts import number
from parmesan_cagem.report.inputs import Run
from parmesan_cagem.report.markup import Html, element, join, picture, scroller

_NEVER_MARKED = {"preset", "engine"}  # the engine's default is what the machine has: no two pages would agree
_FIELDS = {field.name: field for field in dataclasses.fields(Experiment)}


def section(runs: Sequence[Run]) -> Html:
    """The table of runs, then their pages."""
    if not runs:
        return element("p", "No run has a record yet.", class_="missing")
    return join([_index(runs), prices.table(runs), [_page(run) for run in runs]])


def _index(runs: Sequence[Run]) -> Html:
    heads = ("run", "F_k, nats", "k", "error p(y|x)", "error q(y|x)", "epochs", "trained on", "training time")
    rows = []
    for run in runs:
        r = run.record
        cells = [
            element("th", element("a", run.name, href=f"#{run.id}"), scope="row"),
            element("td", _bound(r, f"F_{r['eval']['k']}")),
            element("td", r["eval"]["k"]),
            element("td", _percent(r["error_p"])),
            element("td", _percent(r["error_q"])),
            element("td", r["epochs"]),
            element("td", r["device"], class_="text"),
            element("td", charts.duration(r["train_seconds"])),
        ]
        rows.append(element("tr", cells))
    head = element("thead", element("tr", [element("th", name, scope="col") for name in heads]))
    caption = element("caption", "Every run with a record. ± is the standard error over test images.")
    return scroller(element("table", caption, head, element("tbody", rows), class_="numbers runs"), "Table of runs")


def _page(run: Run) -> Html:
    r, name = run.record, run.name
    parts = [
        element("h3", name),
        element("p", element("a", "← all runs", href="#runs"), class_="quiet"),
        [element("p", "Warning: ", warning, class_="warning") for warning in r["warnings"]],
        _headline(r),
        _protocol(r),
        prices.section(run),
        element("h4", "Curves"),
        _curves(run),
        element("h4", "Samples"),
        _samples(run),
        [element("h4", "Clusters"), _clusters(r)] if r["cluster_usage"] else None,
        element("h4", "Settings"),
        _settings(r["config"]),
        element("h4", "Provenance"),
        _provenance(r),
    ]
    return element("section", parts, class_="run", id=run.id, aria_label=f"Run {name}")


def _headline(r: Mapping[str, Any]) -> Html:
    k = r["eval"]["k"]
    order = [f"F_{k}", *sorted(set(r["bounds"]) - {f"F_{k}"}, key=lambda name: (len(name), name))]
    pairs: list[tuple[str, object]] = [
        (f"{name.replace('_marginal', ', marginal')}, nats", _bound(r, name)) for name in order
    ]
    pairs += [(f"test error of {c}(y|x)", _percent(r[f"error_{c}"])) for c in "pq" if c in (r["confusion"] or {})]
    terms = r["terms"] or {}
    pairs += [(f"{name.replace('_', ' ')}, nats", number(terms[name])) for name in _ordered(terms)]
    pairs += [(f"active units of {name}", r["active_units"][name]) for name in _ordered(r["active_units"])]
    if r["clustering"]:
        pairs += [
            ("purity", number(r["clustering"]["purity"])),
            ("normalised mutual information", number(r["clustering"]["nmi"])),
        ]
    return charts.facts(pairs, "headline")


def _protocol(r: Mapping[str, Any]) -> Html:
    e = r["eval"]
    seeds = ", ".join(str(seed) for seed in e["seeds"])
    which = records.images(r)
    words = (
        f"Bounds: lower bounds on log p(x), {e['estimator']} estimator, on {e['images']} of "
        f"{r['dataset']['test_images']} {which}; binarisation {e['binarisation']}; seeds of the evaluation "
        f"{seeds}; batch statistics {e['bn_mode']}."
    )
    if r["confusion"]:
        draws, images = e["draws_for_errors"], e["error_images"]
        words += f" Errors: argmax of probabilities averaged over {draws} draws, on {images} {which}."
    terms = r["terms"] or {}
    if analytic := [name for name in _ordered(terms) if f"{name}_sampled" in terms]:
        parts = [name.replace("_", " ") for name in _ordered(terms) if name not in analytic]
        values = "is its analytic value" if len(analytic) == 1 else "are analytic values"
        words += f" F_1 = {' − '.join(parts)}; {', '.join(name.replace('_', ' ') for name in analytic)} {values}."
    return element("p", words)


def _ordered(names: Iterable[str]) -> list[str]:
    """Names of variables, or of terms of them: z1, z2 ..., auxiliary ones, y; a sampled term after its own."""

    def place(name: str) -> tuple[Any, ...]:
        variable = name.removeprefix("KL_").removesuffix("_sampled")
        return name.startswith("KL_"), "rzay".find(variable[0]), len(variable), name

    return sorted(names, key=place)


def _curves(run: Run) -> Html:
    if run.curves is None:
        return _missing("No curves yet: ", "cagem figures", " draws them.")
    losses = " and the classifiers' losses" if run.record["cluster_usage"] else ""
    alt = f"Training curves of {run.name}: bound, its terms{losses} by epoch"
    return element("figure", scroller(picture("image/svg+xml", run.curves, alt, class_="plate"), alt))


def _samples(run: Run) -> Html:
    if run.samples is None:
        return _missing("No samples yet: ", "cagem evaluate RUN", " draws them.")
    if run.record["model"] == "cagem":
        alt = "Class-conditional samples: a row for each class y, z2 drawn from p(z2|y), z1 from p(z1|y,z2)"
        words = "One row for each class y: z2 ~ p(z2|y), z1 ~ p(z1|y,z2), and the mean of p(x|y,z1)."
    elif run.record["cluster_usage"]:
        alt = "Class-conditional samples: a row for each class y"
        words = "One row for each class y: every variable drawn given those above it, and the mean of p(x|.)."
    else:
        alt = "Samples of the prior"
        words = "The top variable drawn from its prior, every other given those above it, and the mean of p(x|.)."
    caption = element("figcaption", words, class_="quiet")
    return element("figure", picture("image/png", run.samples, alt, class_="samples"), caption)


def _clusters(r: Mapping[str, Any]) -> Html:
    caption = element("figcaption", "Usage of clusters: mean of q(y|x) over test images, percent.", class_="quiet")
    parts = [element("figure", charts.bars(r["cluster_usage"], "Usage of clusters"), caption)]
    if r["confusion"]:
        tables = [
            charts.heat_table(r["confusion"][c], f"{c}(y|x): test images by class and cluster", "class", "cluster")
            for c in ("q", "p")
            if c in r["confusion"]
        ]
        parts.append(element("div", tables, class_="pair"))
    return join(parts)


def _settings(config: Mapping[str, Any]) -> Html:
    known = config.get("preset") in PRESETS
    model = str(config.get("model", "cagem"))
    defaults = usual_settings(str(config["preset"]), str(config.get("dataset")), model) if known else {}
    differing, rows = [], []
    for name, value in sorted(config.items(), key=lambda item: (_order(item[0]), item[0])):
        field = _FIELDS.get(name)
        usual = defaults.get(name)
        changed = usual is not None and value != usual and name not in _NEVER_MARKED
        if changed:
            differing.append(f"{name} {_value(value)}")
        cells = [
            element("th", name, scope="row"),
            element("td", "● " if changed else None, _value(value)),
            element("td", "" if usual is None or name in _NEVER_MARKED else _value(usual)),
            element("td", "" if field is None else field.metadata["help"], class_="text"),
            element("td", "" if field is None else field.metadata["source"], class_="text"),
        ]
        rows.append(element("tr", cells, class_="changed" if changed else None))
    heads = ("setting", "here", "in the preset", "meaning", "where it comes from")
    head = element("thead", element("tr", [element("th", name, scope="col") for name in heads]))
    table = scroller(element("table", head, element("tbody", rows), class_="settings"), "Settings")
    preset_words = f"preset {config.get('preset', 'unknown')}"
    words = f"{preset_words}; differing from it: {', '.join(differing) or 'nothing'}."
    return join(
        [
            element("p", words),
            element("details", element("summary", f"All {len(rows)} settings; ● differs from the preset"), table),
        ]
    )


def _provenance(r: Mapping[str, Any]) -> Html:
    data, e = r["dataset"], r["eval"]
    verified = "verified to the last byte" if data["verified"] else "NOT the known data"
    scale = "probabilities as they are" if data["pixel_scale"] is None else f"v / {data['pixel_scale']:g}"
    weight = r["label_weight"]
    w_q, w_p = number(weight["q"]), number(weight["p"])
    pairs: list[tuple[str, object]] = [
        ("data", f"{data['name']}: {data['source']}; {verified}"),
        ("SHA-256 of the data", _code(data["sha256"])),
        ("images", f"{data['unlabelled']} unlabelled, {data['labelled']} labelled, {data['holdout']} held out"),
        ("probability of a pixel", scale),
        ("seeds", f"{r['seed']}; of the labels {'–' if r['label_seed'] is None else r['label_seed']}"),
        ("SHA-256 of the labelled indices", _code(r["label_indices_sha256"] or "–")),
        ("label weights", f"w_q {w_q} (given: {weight['given']}), w_p {w_p} (given: {weight['given_p']})"),
        ("SHA-256 of the settings", _code(r["config_hash"])),
        ("training: source", _code(_commit(r["git"]))),
        ("training: machine", f"engine {r['engine']}, {r['device']}"),
        ("training: time", f"epochs {r['epochs']}, steps {r['steps']}, {charts.duration(r['train_seconds'])}"),
        ("training: began", r["started"]),
        ("training: memory", _memory(r)),
        ("evaluation: source", _code(_commit(e["git"]))),
        ("evaluation: machine", f"engine {e['engine']}, {e['precision']}, {e['device']}"),
        ("evaluation: time", charts.duration(e["seconds"])),
        ("evaluation: ended", e["finished"]),
        ("evaluation: memory", _memory(e)),
        ("SHA-256 of the evaluated indices", _code(e["indices_sha256"])),
    ]
    versions = sorted({*r["versions"], *e["versions"]})
    heads = ("software", "training", "evaluation")
    rows = [
        element(
            "tr",
            element("th", name, scope="row"),
            [element("td", side["versions"].get(name, "–"), class_="text") for side in (r, e)],
        )
        for name in versions
    ]
    head = element("thead", element("tr", [element("th", name, scope="col") for name in heads]))
    table = scroller(element("table", head, element("tbody", rows)), "Versions of software")
    return join([charts.facts(pairs), element("details", element("summary", "Versions of software"), table)])


def _bound(r: Mapping[str, Any], name: str) -> str:
    bound = r["bounds"][name]
    error = bound["standard_error"]
    return number(bound["mean"]) + ("" if error is None else f" ± {number(error)}")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{number(value)} %"


def _order(name: str) -> int:
    return list(_FIELDS).index(name) if name in _FIELDS else len(_FIELDS)


def _value(value: Any) -> str:
    return (
        {True: "yes", False: "no", None: "–"}[value] if value is None or value is True or value is False else str(value)
    )


def _code(text: str) -> Html:
    return element("code", text)


def _commit(git: Mapping[str, Any]) -> str:
    if git["commit"] is None:
        return "no git checkout"
    return git["commit"] + (" and changes that were not committed" if git["dirty"] else "")


def _memory(part: Mapping[str, Any]) -> str:
    return f"{part['peak_memory_bytes'] / 2**20:.0f} MiB at most"


def _missing(before: str, command: str, after: str) -> Html:
    return element("p", before, element("code", command), after, class_="missing")
