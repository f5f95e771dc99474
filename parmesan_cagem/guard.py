"""What stops a training at the first number that is not finite, and the failure.json that tells which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem import checkpoint, epoch_log, files, finite
from parmesan_cagem.errors import UserError
from parmesan_cagem.finite import NumericalError
from parmesan_cagem.partition import Partition

NAMES = 8  # that the message of a failure has room for; failure.json has them all


class Guard:
    """Looks at every block of steps of one run.

    Parameters
    ----------
    folder : Path
        The run's, which receives failure.json.
    partition : Partition
        Turns the places in a block's inputs into those of images in the training set.
    names : sequence of str
        Of the step's outputs, in order.
    """

    def __init__(self, folder: Path, partition: Partition, names: Sequence[str]) -> None:
        self._folder, self._partition, self._names = folder, partition, names

    def outputs(self, epoch: int, step: int, inputs: list[np.ndarray], values: list[np.ndarray]) -> None:
        """Stop at the first step of a block whose terms or norms are not finite.

        Parameters
        ----------
        epoch : int
            Completed epochs.
        step : int
            Of this epoch, the block's first.
        inputs : list of (S, ...) arrays
            Of the S steps: places of unlabelled images (S, batch), and of labelled ones, if there are some.
        values : list of (S,) or (S, K) arrays
            The outputs of the S steps.

        Raises
        ------
        NumericalError
        """
        bad = ~np.isfinite(epoch_log.flat(values)).all(axis=1)
        if not bad.any():
            return
        report = self._report(epoch, step, inputs, values, int(np.flatnonzero(bad)[0]))
        self.fail(report, [name for name, value in report["outputs"].items() if not np.isfinite(value).all()])

    def state(
        self,
        epoch: int,
        step: int,
        inputs: list[np.ndarray],
        values: list[np.ndarray],
        arrays: Mapping[str, NDArray[Any]],
    ) -> None:
        """Stop after a block whose terms and norms are finite but whose state, ``arrays`` by name, is not.

        An infinite second moment of Adam's freezes its weight, a spoilt running average waits for the evaluation: no
        output would ever tell. Looked at once a block and not in every step, which would read all of the state again
        in each; so the report names the block's steps and all its batches. Parameters are those of :meth:`outputs`.

        Raises
        ------
        NumericalError
        """
        if bad := finite.faults(arrays):
            report = self._report(epoch, step, inputs, values, len(inputs[0]) - 1)
            report["since_step"] = step
            report["batches"] = self._partition.unlabelled[inputs[0]].tolist()
            self.fail({**report, "state": bad}, bad)

    def fail(self, report: Mapping[str, Any], names: Iterable[str]) -> NoReturn:
        """Write failure.json and stop.

        Parameters
        ----------
        report : mapping
            ``epoch``, and ``step`` or ``images``; what else there is to tell. Its ``outputs`` become words.
        names : iterable of str
            What is not finite.

        Raises
        ------
        NumericalError
        """
        outputs = report.get("outputs", {})
        words = {name: np.char.mod("%g", value).tolist() for name, value in outputs.items()}
        path = self._folder / "failure.json"
        told = f"terms, norms and batch are in {path}"
        try:
            files.write_json(path, {**report, "outputs": words})
        except UserError as error:  # a full disk hides no NaN
            told = str(error)
        where = f"epoch {report['epoch']}, " + (f"step {report['step']}" if "step" in report else report["images"])
        names = list(names)
        more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
        saved = "the last checkpoint is intact, but" if checkpoint.exists(self._folder) else "no checkpoint yet, and"
        raise NumericalError(
            f"{where}: not finite: {', '.join(names[:NAMES])}{more}; {told}; {saved} --resume would fail here again: "
            f"lower --learning-rate or change --seed under another --name"
        )

    def _report(
        self, epoch: int, step: int, inputs: list[np.ndarray], values: list[np.ndarray], i: int
    ) -> dict[str, Any]:
        """What there is to tell of step ``i`` of a block."""
        report: dict[str, Any] = {
            "epoch": epoch + 1,
            "step": step + i,
            "batch": self._partition.unlabelled[inputs[0][i]].tolist(),
            "outputs": {name: value[i] for name, value in zip(self._names, values, strict=True)},
        }
        if len(self._partition.labelled):
            report["labelled_batch"] = self._partition.labelled[inputs[1][i]].tolist()
        return report
