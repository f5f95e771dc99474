"""The models: CaGeM and the baselines of the paper's tables, behind one interface (:class:`networks.Model`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Theano takes seconds to import
    from parmesan_cagem.config import Experiment
    from parmesan_cagem.models.networks import Model


def build(experiment: Experiment, x_dim: int) -> Model:
    """The model that ``experiment.model`` names, with its initial weights.

    Parameters
    ----------
    x_dim : int
        Pixels of an image.
    """
    from parmesan_cagem.models.adgm import ADGM, SDGM
    from parmesan_cagem.models.avae import AVAE
    from parmesan_cagem.models.cagem import CaGeM
    from parmesan_cagem.models.ladder import LadderVAE
    from parmesan_cagem.models.m2 import M2
    from parmesan_cagem.models.vae import VAE

    classes: dict[str, type[Model]] = {
        "cagem": CaGeM,
        "vae": VAE,
        "iwae": VAE,
        "lvae": LadderVAE,
        "avae": AVAE,
        "adgm": ADGM,
        "sdgm": SDGM,
        "m2": M2,
    }
    return classes[experiment.model](experiment, x_dim)
