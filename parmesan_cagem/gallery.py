"""The arrays of each figure, from a run's weights or from what was kept of them in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem import data, engines, trained
from parmesan_cagem.data import Dataset
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.data.labels import stratified_subset
from parmesan_cagem.errors import UserError
from parmesan_cagem.report.choice import Run
from parmesan_cagem.view_cache import Arrays, cached

if TYPE_CHECKING:
    from parmesan_cagem.engines import Engine

POINTS = 2000  # test images in a scatter plot: enough to see clusters, few enough for a small file
SIDE = 20  # pictures along a side of Figure 3's mesh grid
PICTURES = 100  # in each panel of Figure 6


class Gallery:
    """Makes arrays for figures; loads data, model and engine when something is not kept yet.

    Parameters
    ----------
    data_dir : Path or None
        As in ``--data-dir``.
    engine : str
        What computes.
    unverified : bool
        As ``--unverified-data``.
    """

    def __init__(self, data_dir: Path | None, engine: str, unverified: bool = False) -> None:
        self._data_dir, self._engine_name, self._unverified = data_dir, engine, unverified
        self._data: dict[str, Dataset] = {}
        self._weights: dict[Path, str] = {}  # their digests
        self._models: dict[Path, trained.Trained] = {}
        self._engine: Engine | None = None

    def latents(self, run: Run) -> Arrays:
        """One ancestral draw for each of 2,000 test images (class-stratified): each variable, y, and the labels.

        Names are the variables' (``z1``, ``a`` ...), ``y`` where the model has a class, and ``labels``.
        """

        def compute() -> Arrays:
            from parmesan_cagem import views

            images = self._test_images(run, POINTS)
            model = self._model(run)
            drawn = views.latents(model, self._compiler(), images, indices, run.config["eval_seed"])
            return {**drawn.z, **({} if drawn.y is None else {"y": drawn.y}), "labels": labels[indices]}

        labels = self._dataset(run).test_labels
        indices = self._indices(run, POINTS)
        return self._cached(run, "latents", {"points": POINTS}, compute)

    def plane(self, run: Run, given: int) -> Arrays:
        """The plane of a 2-d z2: corners ``low``, ``high`` of the grid; ``random`` and ``conditional`` pictures.

        The grid is the square around the median of the test images' z2 that holds 95 % of them.

        Raises
        ------
        UserError
            The run is no CaGeM, z2 has not two dimensions, or the class ``given`` is none of the clusters.
        """
        model, dimensions, clusters = (run.config[name] for name in ("model", "z2_dim", "clusters"))
        if model != "cagem":
            raise UserError(f"{run.folder.name}: model {model} has no p(y|z2), which Figure 3 shows; name a CaGeM run")
        if dimensions != 2:
            raise UserError(
                f"{run.folder.name}: z2 has {dimensions} dimensions, and Figure 3 shows a plane; train with --z2-dim 2"
            )
        if not 0 <= given < clusters:
            raise UserError(f"--class {given}: the model has clusters 0 to {clusters - 1}; give one of them")
        z2 = self.latents(run)["z2"].astype(np.float64)
        centre = np.median(z2, axis=0)
        half = float(np.quantile(np.abs(z2 - centre).max(axis=1), 0.95))

        def compute() -> Arrays:
            from parmesan_cagem import views

            model, engine, seed = self._model(run), self._compiler(), run.config["eval_seed"]
            points = views.plane(centre - half, centre + half, SIDE)
            return {
                "low": centre - half,
                "high": centre + half,
                "random": views.mesh(model, engine, points, "random", seed),
                "conditional": views.mesh(model, engine, points, given, seed),
            }

        return self._cached(run, "plane", {"side": SIDE, "class": given, "points": POINTS}, compute)

    def generations(self, run: Run) -> Arrays:
        """``inputs`` (binary test images), their ``reconstructions``, and ``samples`` of the prior."""

        def compute() -> Arrays:
            from parmesan_cagem import views

            images = self._test_images(run, PICTURES)
            model, engine, seed = self._model(run), self._compiler(), run.config["eval_seed"]
            return {
                "inputs": images,
                "reconstructions": views.reconstructions(model, engine, images, seed),
                "samples": views.samples(model, engine, PICTURES, seed),
            }

        return self._cached(run, "generations", {"pictures": PICTURES}, compute)

    def _cached(self, run: Run, name: str, sizes: dict[str, int], compute: Any) -> Arrays:
        if run.folder not in self._weights:
            self._weights[run.folder] = trained.identify(run.folder)
        key = {
            "weights": self._weights[run.folder],
            "data": self._dataset(run).sha256,
            "pixel_scale": run.config["pixel_scale"],
            "seed": run.config["eval_seed"],
            "engine": self._engine_name,
            **sizes,
        }

        def checked() -> Arrays:
            arrays: Arrays = compute()
            if self._model(run).sha256 != key["weights"]:
                raise UserError(f"{run.folder.name}: its weights changed meanwhile (in training?); repeat the command")
            return arrays

        return cached(run.folder, name, key, checked)

    def _dataset(self, run: Run) -> Dataset:
        name = run.config["dataset"]
        if name not in self._data:
            self._data[name] = data.load(name, self._data_dir, self._unverified and name == "omniglot")
        trained.check_data_of(run.folder, self._data[name].sha256)
        return self._data[name]

    def _indices(self, run: Run, count: int) -> NDArray[np.int64]:
        labels = self._dataset(run).test_labels
        return stratified_subset(labels, min(count, len(labels)), run.config["eval_seed"])

    def _test_images(self, run: Run, count: int) -> NDArray[np.uint8]:
        """Binary test images, as evaluation draws them."""
        dataset, indices, config = self._dataset(run), self._indices(run, count), run.config
        return binarize(dataset.test_images[indices], config["pixel_scale"], config["eval_seed"], indices)

    def _model(self, run: Run) -> trained.Trained:
        if run.folder not in self._models:
            self._models[run.folder] = trained.load(run.folder)
        return self._models[run.folder]

    def _compiler(self) -> Engine:
        if self._engine is None:
            self._engine = engines.get(self._engine_name)
        return self._engine
