"""Why a step ends without having collected what it was to collect, where no upstream gave the reason itself.

Belongs here: the exceptions of this room. Does not belong here: failures of an upstream (`sources.failures`), and what
Dagster makes of either (`defs.failures`).
"""

from azak_assets.sources.failures import SourceFailure


class CollectError(Exception):
    """The step must not count as done, and trying again now cannot help. The message says what is missing and what to
    do."""


class RoundError(Exception):
    """An upstream's failure ended one round of several.

    Attributes:
        what: what the round asked for, and what became of the others.
        failure: the upstream's failure, whose cause says whether the step is tried again.
    """

    def __init__(self, what: str, failure: SourceFailure) -> None:
        self.what, self.failure = what, failure
        super().__init__(f"{what}: {failure}")
