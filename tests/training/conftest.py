"""One tiny model, compiled once for all test files of this folder, and its three epochs without a break."""

import copy
import dataclasses

import numpy as np
import pytest
from runs import log_of
from trainers import TINY, record_blocks

from parmesan_cagem import checkpoint, training
from parmesan_cagem.data import Dataset, load
from parmesan_cagem.engines.theano_c import TheanoC
from parmesan_cagem.models.cagem import CaGeM
from parmesan_cagem.partition import partition
from parmesan_cagem.runfolder import RunFolder
from parmesan_cagem.signals import Signals
from parmesan_cagem.training import Position, Trainer


@pytest.fixture(scope="session")
def mnist():
    return load("mnist", None)


@pytest.fixture(scope="session")
def compiled(c_engine, mnist, tmp_path_factory):
    """A trainer on 133 of 180 images that stands at step 0 of epoch 0, and its state there."""
    some = np.random.default_rng(0).permutation(60000)[:180]
    small = Dataset(
        "mnist",
        10,
        mnist.train_images[some],
        mnist.train_labels[some],
        mnist.test_images[:10],
        mnist.test_labels[:10],
        source="test",
        sha256="0" * 64,
    )
    folder = RunFolder.create(tmp_path_factory.mktemp("compiled") / "run", TINY.to_dict())
    trainer = Trainer(TINY, small, partition(small, TINY), CaGeM(TINY, 784), TheanoC(), folder, Signals(), quiet=True)
    return trainer, {name: variable.get_value() for name, variable in trainer.step.state.items()}


@pytest.fixture(scope="session")
def whole(compiled, tmp_path_factory):
    """Three epochs without a break: (folder, the blocks, checkpoint, log)."""
    original, initial = compiled
    trainer = copy.copy(original)
    for variable, value in zip(trainer.step.state.values(), initial.values(), strict=True):
        variable.set_value(value)
    trainer.position = Position()
    trainer.folder = RunFolder.create(tmp_path_factory.mktemp("whole") / "run", TINY.to_dict())
    blocks = record_blocks(trainer)
    with Signals() as signals, pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "BLOCK_SECONDS", 0.0)  # this fixture is made before blocks_of_ten
        trainer.signals = signals
        trainer.run()
    trainer.folder.close()
    folder = trainer.folder.path
    return folder, blocks, checkpoint.load(folder), log_of(folder)


@pytest.fixture(scope="module", autouse=True)
def blocks_of_ten():
    """Quick as these steps are, their blocks do not grow: tests count them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "BLOCK_SECONDS", 0.0)
        yield


@pytest.fixture
def new_trainer(compiled, tmp_path):
    """Make trainers as a new process would: the same functions, every variable spoilt or at its initial value."""
    opened = []
    with Signals() as signals:

        def make(name="run", resume=False, warnings=(), **changes):
            original, initial = compiled
            trainer = copy.copy(original)
            trainer.e = dataclasses.replace(TINY, **changes)
            trainer.position, trainer.signals = Position(), signals
            signals.received = None
            for variable, value in zip(trainer.step.state.values(), initial.values(), strict=True):
                # A resumed process has other values everywhere until it has read the checkpoint.
                variable.set_value(value + 1 if resume else value)
            path = tmp_path / name
            open_run = RunFolder.open if resume else RunFolder.create
            extra = [frozenset(("epochs", "checkpoint_every"))] if resume else []
            trainer.folder = open_run(path, trainer.e.to_dict(), *extra)
            opened.append(trainer.folder)
            if resume:
                try:
                    assert trainer.restore() == warnings
                except BaseException:
                    trainer.folder.close()
                    raise
            return trainer

        yield make
        for folder in opened:
            folder.close()
