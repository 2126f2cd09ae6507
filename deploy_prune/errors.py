"""Every error class of the package.

A message is one line for the person at the terminal: what was got, what was expected, what to do. The command
line prints it after ``error:`` and ends with exit code 2.
"""


class DeployPruneError(Exception):
    """Base of all errors that a user can act on."""


class InputError(DeployPruneError, ValueError):
    """An argument, recipe, profile or file is not usable as given."""


class MissingDependencyError(DeployPruneError, ImportError):
    """An optional package or runtime is needed and not installed; the message holds the pip line."""


class ForwardError(DeployPruneError, RuntimeError):
    """The model's own forward failed on the example input; the original exception is chained."""


class PlanError(DeployPruneError, ValueError):
    """A plan does not fit the model: unknown name, wrong shape, or an axis left empty or ragged."""


class VerificationError(DeployPruneError, AssertionError):
    """The pruned model differs from the masked original."""


class MeasurementError(DeployPruneError, RuntimeError):
    """A runtime refused the model or its worker process died."""


class ConnectionLostError(MeasurementError):
    """The connection to another machine was lost; what was being measured can be measured again."""


class UnreachableHostError(MeasurementError):
    """Another machine does not answer: it is off, restarts, or is in another network."""


class UnreachableBudgetError(DeployPruneError):
    """No widths meet the budget; ``fastest_s`` is the lowest latency in seconds that the search can reach."""

    def __init__(self, message: str, fastest_s: float) -> None:
        super().__init__(message)
        self.fastest_s = fastest_s


class ExportError(DeployPruneError, RuntimeError):
    """Export failed, or the exported model does not compute what the PyTorch model does."""
