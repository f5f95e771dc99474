"""Every setting by its name, its flag, and a value that is not its default."""

import dataclasses

from parmesan_cagem.config import Experiment

FIELDS = {field.name: field for field in dataclasses.fields(Experiment)}
# Where a value other than the default does not follow from the type.
OTHERS = {
    "learning_rate_decay": 0.5,
    "devices": 2,
    "bn_momentum": 0.2,
    "adam_beta1": 0.8,
    "adam_beta2": 0.99,
    "label_weight_p": "adgm:0.1",
}


def flag(name):
    return "--" + name.replace("_", "-")


def other_value(field):
    """A value that the field may have and that is not its default."""
    if field.name in OTHERS:
        return OTHERS[field.name]
    for choice in field.metadata["choices"] or ():
        if choice != field.default:
            return choice
    if isinstance(field.default, bool):
        return not field.default
    if isinstance(field.default, str):
        return "adgm:0.1" if field.name == "label_weight" else "another"
    return field.default * 2 + 1
