"""Records of runs that never were, for tests of what reads records."""

from record_example import example

from parmesan_cagem import config, records
from parmesan_cagem.presets import LAYERED
from parmesan_cagem.report.runs import Run


def record(name="run", preset="paper", bound=-80.0, error=(2.0, 4.0), put=None, **settings):
    """A record of ``config.experiment(preset, **settings)``.

    ``bound``: F_k, nats; ``error``: of q(y|x) and p(y|x), percent; ``put``: other values, by dotted key.
    """
    e = config.experiment(preset, **settings)
    made = example()
    k, images = e.iw_samples, e.eval_images or 10000
    made |= {"name": name, "model": e.model, "config": e.to_dict(), "config_hash": e.training_hash()}
    made |= {"seed": e.seed, "epochs": e.epochs, "train_seconds": 93_600.0}
    made["dataset"] |= {"name": e.dataset, "labelled": e.labels, "pixel_scale": e.pixel_scale, "holdout": e.holdout}
    made["eval"] |= {"images": images, "k": k, "draws_for_errors": e.class_draws, "seconds": 19_800.0}
    made["eval"] |= {"estimator": e.estimator, "bn_mode": e.bn_eval, "binarisation": f"fixed, seed {e.eval_seed}"}
    made["bounds"][f"F_{k}"] = {"mean": bound, "standard_error": 0.5, "by_seed": [bound]}
    made |= {"label_seed": e.label_seed, "error_q": error[0], "error_p": error[1]}
    if not e.labels:
        made |= {"label_seed": None, "label_indices_sha256": None, "error_q": None, "error_p": None}
    _fit_model(made, e)
    if e.estimator == "sampled":
        made["terms"] = None
        del made["bounds"]["F_1_marginal"]
    for key, value in (put or {}).items():
        *parents, leaf = key.split(".")
        inner = made
        for parent in parents:
            inner = inner[parent]
        inner[leaf] = value
    records.validate(made)
    return made


def _fit_model(made, e):
    """What a model has not is empty or null; its layers and auxiliary variables have terms."""
    if e.model == "cagem":
        return
    layers = [f"z{level}" for level in range(1, e.layers + 1)] if e.model in LAYERED else ["z1"]
    auxiliary = {"avae": [f"a{level}" for level in range(1, e.layers + 1)], "adgm": ["a"], "sdgm": ["a"]}
    names = [*layers, *auxiliary.get(e.model, [])]
    terms = {f"KL_{name}": 5.0 + place for place, name in enumerate(names)}
    made["terms"] = {"reconstruction": -72.25, **terms, f"KL_{layers[-1]}_sampled": 5.25}
    made["active_units"] = dict.fromkeys(names, 30)
    made["error_p"], made["test"]["H_p"] = None, None
    if e.model in LAYERED:
        made |= {"cluster_usage": [], "clustering": None, "confusion": None}
        made["test"] = dict.fromkeys(made["test"])
    else:
        made["terms"]["KL_y"] = 1.75
        del made["confusion"]["p"]


def runs(folder, *made):
    """Those records as a table builder gets them."""
    return tuple(Run(folder / one["name"], one) for one in made)


def write(folder, *made):
    """Write each record into its run folder below ``folder``."""
    for one in made:
        path = folder / one["name"]
        path.mkdir(parents=True)
        records.write(path / "record.json", one)
