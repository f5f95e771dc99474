"""The settings of the tiny run that every test of the training loop trains, and what to do to its trainers."""

from parmesan_cagem.config import experiment

IMAGES, STEPS = 133, 26  # 26 steps of 5, three images left out each epoch; blocks of 10, 10 and 6 steps
TINY = experiment(
    "smoke",
    labels=20,
    wide=8,
    narrow=6,
    z1_dim=3,
    z2_dim=2,
    batch_size=5,
    labelled_batch_size=7,
    epochs=3,
    warmup_epochs=2,
    train_images=IMAGES,
)


def stop(trainer):
    trainer.folder.close()
    return trainer


def on_block(trainer, action):
    """Call ``action(number of the block, its inputs, its outputs)`` after every block of steps."""
    run_block, count = trainer._run_block, iter(range(10**6))

    def run(*inputs):
        values = run_block(*inputs)
        return action(next(count), inputs, values) or values

    run.prepare, run.pull = run_block.prepare, run_block.pull
    trainer._run_block = run
    return trainer


def record_blocks(trainer):
    blocks = []
    on_block(trainer, lambda number, inputs, values: blocks.append((inputs, values)))
    return blocks
