"""Why a decision could not be re-run; that it was, and something differs, is a result and no error.

RerunError
├── BrokenRecord      the bytes in bronze are no decision record: they were changed, or are not ours
├── EvidenceAway      something that it takes is not there: a table, a version of it, a policy, the registry, a model
└── OtherBuild        it follows other feature declarations than this build's
"""


class RerunError(Exception):
    """A decision cannot be re-run; the message says why and what to do."""


class BrokenRecord(RerunError):
    """The bytes in bronze are no decision record."""


class EvidenceAway(RerunError):
    """Something that a re-run takes is not there."""


class OtherBuild(RerunError):
    """The decision follows other feature declarations than this build's."""
