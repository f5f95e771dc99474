"""The plane of a 2-d z2, decoded by the run that the latent explorer shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from parmesan_cagem.errors import UserError
from parmesan_cagem.finite import NumericalError
from parmesan_cagem.report import explorer, sprites
from parmesan_cagem.report.inputs import Run
from parmesan_cagem.report.markup import Html
from parmesan_cagem.report.sprites import Plane

if TYPE_CHECKING:
    from parmesan_cagem.data import Dataset
    from parmesan_cagem.engines import Engine
    from parmesan_cagem.trained import Trained

DOTS = 1000  # test images whose z2 are shown
SEED = 1  # of their choice, binarisation and draws


def section(runs: Sequence[Run], data_dir: Path | None) -> tuple[Html, str]:
    """The explorer of the 2-d run with the most epochs that has its weights, and what to tell the caller.

    Parameters
    ----------
    runs : sequence of Run
    data_dir : Path or None
        Folder of the data set, for the scatter of test images; as ``--data-dir``.
    """
    flat = [r for r in runs if r.record["config"].get("z2_dim") == 2 and r.record["model"] == "cagem"]
    flat.sort(key=lambda run: (-run.record["epochs"], run.name))
    if not flat:
        return explorer.missing(), "no explorer: no run has a 2-d z2"
    from parmesan_cagem import engines, trained  # Theano: seconds to import, and only this section needs it

    reasons = []
    for run in flat:
        try:
            model = trained.load(run.folder)
        except (UserError, NumericalError) as error:
            reasons.append(str(error).replace(str(run.folder), run.name))
            continue
        engine = engines.get(engines.default())
        data, note = _data(run, data_dir)
        message = f"explorer: {run.name}" + (f"; {note}" if note else "")
        return explorer.section(plane(model, engine, data), run.name), message
    said = f"The weights of {flat[0].name} cannot be used here (checkpoints are not in git): {reasons[0]}."
    return explorer.missing(said), f"no explorer: {reasons[0]}"


def plane(model: Trained, engine: Engine, data: Dataset | None) -> Plane:
    """Decode every class at every point of the grid: z1 is the mean of p(z1|y,z2), so nothing is random.

    Parameters
    ----------
    model : Trained
        With a 2-d z2.
    engine : Engine
    data : Dataset or None
        None: no scatter of test images.
    """
    from parmesan_cagem import views

    classes = model.experiment.clusters
    points = sprites.points_of_a_side(classes)
    grid = views.plane([-sprites.REACH] * 2, [sprites.REACH] * 2, points)  # (points * points, 2)
    sheets = tuple(sprites.sheet(views.mesh(model, engine, grid, c, SEED, z1="mean"), points) for c in range(classes))
    probabilities = sprites.quantised(views.class_probabilities(model, engine, grid), points)
    if data is None:
        return Plane(sheets, probabilities)
    from parmesan_cagem.data.binarize import binarize
    from parmesan_cagem.data.labels import stratified_subset

    chosen = stratified_subset(data.test_labels, min(DOTS, len(data.test_labels)), SEED)
    images = binarize(data.test_images[chosen], model.experiment.pixel_scale, SEED, chosen)
    z2 = views.latents(model, engine, images, chosen, SEED).z["z2"]
    inside = np.abs(z2).max(axis=1) <= sprites.REACH
    return Plane(sheets, probabilities, z2[inside], data.test_labels[chosen][inside], int((~inside).sum()))


def _data(run: Run, data_dir: Path | None) -> tuple[Dataset | None, str]:
    from parmesan_cagem import data

    try:
        found = data.load(run.record["dataset"]["name"], data_dir)
    except UserError as error:
        return None, f"without test images: {error}"
    if found.sha256 != run.record["dataset"]["sha256"]:
        return None, "without test images: the data set here is not the one the run was trained on"
    return found, ""
