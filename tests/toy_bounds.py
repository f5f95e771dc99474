"""The estimators of the bounds, and an engine that keeps the log weights."""

import toy

ESTIMATORS = ("marginal", "sampled")


class Recorder:
    """The engine, and the log weights that it computed."""

    rows_per_call = 5000

    def __init__(self):
        self.log_weights = []

    def function(self, inputs, outputs, name):
        function = toy.ENGINE.function(inputs, outputs, name)

        def call(*values):
            results = function(*values)
            self.log_weights.append(results[0])
            return results

        return call
