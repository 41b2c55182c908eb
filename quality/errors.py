"""Everything that can go wrong in ``quality``, as one tree. A failed judgement is a value, not an error.

QualityError
├── UnknownSuite     no expectation suite for that table
├── ExpectationError Great Expectations could not evaluate an expectation
├── VectorsDiffer    feature vectors that cannot be compared: another number of rows or features
└── SentLogUnreadable a line of a sender's log is not what `sentinela send` writes
"""


class QualityError(Exception):
    """Root of the errors of this package."""


class UnknownSuite(QualityError):
    """No expectation suite exists for that table."""


class ExpectationError(QualityError):
    """Great Expectations could not evaluate an expectation."""


class VectorsDiffer(QualityError):
    """Feature vectors that cannot be compared: another number of rows or features."""


class SentLogUnreadable(QualityError):
    """A line of a sender's log is not what ``sentinela send`` writes."""
