"""``cagem figures``: the paper's Figures 3 to 6 and the training curves, from what runs left in their folders."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parmesan_cagem import arguments, engines, files, places
from parmesan_cagem.errors import UserError
from parmesan_cagem.signals import Signals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from parmesan_cagem.gallery import Gallery
    from parmesan_cagem.report.choice import Run

HELP = "Draw Figures 3 to 6 and the training curves (SVG and PNG) from run folders."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem figures``."""
    parser.add_argument(
        "run", nargs="?", type=arguments.path, metavar="RUN", help="a run folder: draw that run alone, into its folder"
    )
    arguments.add_runs_folder(parser, "--runs")
    parser.add_argument(
        "--out",
        type=arguments.path,
        metavar="DIR",
        help="folder of the figures (default $CAGEM_RESULTS/figures, else results/figures; RUN with RUN)",
    )
    arguments.add_data_flags(parser)
    parser.add_argument(
        "--class", dest="given", type=int, default=2, metavar="Y",
        help="class of Figure 3's class-conditional samples (default 2)",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=("xla", "c"), default=engines.default(), help="what computes (default %(default)s)"
    )


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Draw; say which run each figure shows, and for those without one which command would make it.

    Raises
    ------
    UserError
        RUN is no run's folder, or some figure could not be drawn (all others are).
    """
    from parmesan_cagem.gallery import Gallery
    from parmesan_cagem.report import choice

    gallery = Gallery(args.data_dir, args.engine, args.unverified_data)
    if args.run is not None:
        studio = _Studio(args.out or args.run)
        _single(studio, gallery, choice.read(args.run, print), args.given)
    else:
        studio = _Studio(args.out or places.results() / "figures")
        runs = choice.find(args.runs, print)
        if not runs:
            print(f"no run in {args.runs}")
        _paper(studio, gallery, runs, args.given)
        studio.write_captions()
    if studio.failed:
        raise UserError(f"not drawn: {', '.join(studio.failed)}; the lines above say why")


class _Studio:
    """Draws figures into a folder, one line of output each; an error spoils one figure, not the others."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._captions: dict[str, dict[str, Any]] = {}
        self.failed: list[str] = []

    def draw(self, name: str, caption: str, runs: list[Run], make: Callable[[], Figure]) -> None:
        from parmesan_cagem.report import style

        try:
            self._out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {self._out}: cannot write: {files.cause(error)}; name another folder") from error
        try:
            figure = make()
        except UserError as error:
            print(f"{name}: {error}")
            self.failed.append(name)
            return
        paths = style.save(figure, self._out / name)  # a full disk spoils them all
        used = ", ".join(str(run) for run in runs)
        self._captions[name] = {
            "caption": caption,
            "runs": [run.folder.name for run in runs],
            "files": [path.name for path in paths],
        }
        print(f"{name}: {used} -> {self._out / name}.svg, .png")

    def write_captions(self) -> None:
        """captions.json: what each figure shows and of which runs, for the report, which shows no other.

        A figure drawn earlier and not now (a fresh checkout has no checkpoints) stays, with its caption.
        """
        path = self._out / "captions.json"
        former = files.read_json(path, "remove it") if path.exists() else {}
        kept = {name: said for name, said in former.items() if (self._out / f"{name}.svg").exists()}
        if self._out.is_dir():
            files.write_json(path, kept | self._captions)


def _single(studio: _Studio, gallery: Gallery, run: Run, given: int) -> None:
    """Curves, and with a checkpoint reconstructions, samples, latent space."""
    name = run.folder.name
    if run.log:
        _curves(studio, run, "curves")
    else:
        print(f"curves: {name} has no epoch in its log yet")
    if not run.trained:
        print(f"pictures: {name} has no checkpoint")
        return
    _generations(studio, gallery, run, "generations")
    _components(studio, gallery, {_title(run): run}, "latents")
    if (run.config["model"], run.config["z2_dim"]) == ("cagem", 2):
        _plane(studio, gallery, run, given, "plane")


def _paper(studio: _Studio, gallery: Gallery, runs: list[Run], given: int) -> None:
    from parmesan_cagem.config import Experiment
    from parmesan_cagem.report.choice import choose

    weights, default = [run for run in runs if run.trained], Experiment()
    mnist: dict[str, Any] = {"dataset": "mnist", "model": "cagem", "clusters": 10}
    if found := choose(weights, **mnist, z2_dim=2, labels=lambda n: n > 0):
        _plane(studio, gallery, found, given, "figure3")
    else:
        print("figure3: no run; make one: python run_mnist.py --labels 100 --z2-dim 2")
    _label_curve(studio, runs)

    panels = {
        "VAE": ("--model vae", {"dataset": "mnist", "model": "vae", "layers": 2, "train_iw": 1}),
        "CaGeM-0": ("--labels 0", {**mnist, "labels": 0}),
        "CaGeM-100": ("--labels 100", {**mnist, "labels": 100}),
    }
    chosen: dict[str, Run] = {}
    for title, (flags, wanted) in panels.items():
        if found := choose(weights, z2_dim=default.z2_dim, **wanted):
            chosen[title] = found
        else:
            print(f"figure5: {title}: no run; make one: python run_mnist.py {flags}")
    if chosen:
        _components(studio, gallery, chosen, "figure5")

    if found := choose(weights, dataset="omniglot", model="cagem", labels=lambda n: n > 0):
        _generations(studio, gallery, found, "figure6")
    else:
        print("figure6: no run; make one: python run_omniglot.py --labels 500")
    for run in runs:
        if run.log:
            _curves(studio, run, f"curves-{run.folder.name}")


def _title(run: Run) -> str:
    return arguments.title(run.config["model"], run.config["labels"])


def _curves(studio: _Studio, run: Run, name: str) -> None:
    from parmesan_cagem.report.curves import curves

    classes = any("usage" in entry for entry in run.log)
    shown = "the bound, KL terms, cross-entropies and cluster shares" if classes else "the bound and KL terms"
    caption = f"Training curves: {shown} per epoch; warm-up shaded."
    studio.draw(name, f"{run.folder.name}. {caption}", [run], lambda: curves(run.folder.name, run.log, run.record))


def _generations(studio: _Studio, gallery: Gallery, run: Run, name: str) -> None:
    from parmesan_cagem.report import pictures

    cagem = run.config["model"] == "cagem"
    of = "one draw of z1 and y" if cagem else "one draw of every variable"
    drawn = "z2 ~ N(0, I), y ~ p(y|z2), z1 ~ p(z1|y,z2)" if cagem else "the prior"
    caption = (
        f"{_title(run)} on {run.config['dataset']}: binary test images, their reconstructions ({of}), "
        f"and samples from {drawn}."
    )

    def make() -> Figure:
        a = gallery.generations(run)
        return pictures.generations(a["inputs"], a["reconstructions"], a["samples"], cagem)

    studio.draw(name, caption, [run], make)


def _components(studio: _Studio, gallery: Gallery, runs: dict[str, Run], name: str) -> None:
    from parmesan_cagem.report.latent_space import components

    def make() -> Figure:
        arrays = {title: gallery.latents(run) for title, run in runs.items()}
        variables = {t: {v: z for v, z in a.items() if v not in ("y", "labels")} for t, a in arrays.items()}
        return components({title: (z, arrays[title]["labels"]) for title, z in variables.items()})

    which = "z1 and of z2" if len(runs) > 1 else "every latent variable"
    caption = (
        f"Principal components of one ancestral draw of {which} for each of 2,000 test images, coloured and "
        f"numbered by true class: {', '.join(runs)}."
    )
    studio.draw(name, caption, list(runs.values()), make)


def _plane(studio: _Studio, gallery: Gallery, run: Run, given: int, name: str) -> None:
    from parmesan_cagem.report.latent_space import plane

    def make() -> Figure:
        arrays, points = gallery.plane(run, given), gallery.latents(run)
        box = arrays["low"], arrays["high"]
        return plane(points["z2"], points["labels"], box, arrays["random"], arrays["conditional"], f"$y$ = {given}")

    caption = (
        f"{_title(run)} with a 2-d z2. Middle: one draw of z2 for each of 2,000 test images, numbered by true class at "
        f"the median; the box, which holds 95 % of them, is the mesh grid. Left: y ~ p(y|z2), z1 ~ p(z1|y,z2). Right: "
        f"y = {given}, z1 ~ p(z1|y,z2)."
    )
    studio.draw(name, caption, [run], make)


def _label_curve(studio: _Studio, runs: list[Run]) -> None:
    """Figure 4 shows the runs that fill the cells of Table 1 (``cells.choose``), all by one protocol."""
    from parmesan_cagem.report import cells, label_curve, paper
    from parmesan_cagem.report.protocol import check, protocol
    from parmesan_cagem.report.runs import Run as Recorded

    recorded = [Recorded(run.folder, run.record) for run in runs if run.record]
    cell = {"dataset": "mnist", "model": "cagem", "clusters": 10, "temperature": True}
    shown = {}
    for labels in label_curve.LABELS:
        if found := cells.choose(recorded, {**cell, "labels": labels}, "bound"):
            shown[labels] = [run.record for run in found.entry.runs]
        else:
            print(f"figure4: no record with {labels} labels; make one: python run_mnist.py --labels {labels}")
    if not shown:
        return
    used = [run for run in runs if any(run.record is record for records in shown.values() for record in records)]

    def make() -> Figure:
        column = [(str(record["name"]), protocol(record, "bound")) for records in shown.values() for record in records]
        check("Figure 4", column, mixed=False)
        points = {labels: label_curve.averaged(records) for labels, records in shown.items()}
        return label_curve.bounds(points, label_curve.published(paper.load()["table1"]))

    points = [
        f"{labels} labels: {first['config']['preset']}, {first['epochs']} epochs, {first['eval']['images']} images"
        for labels, (first, *_) in shown.items()
    ]
    caption = (
        "Bounds F_k on MNIST against the number of labels. Bars: the standard error over test images, or of several "
        f"runs their standard deviation. {'; '.join(points)}."
    )
    studio.draw("figure4", caption, used, make)
