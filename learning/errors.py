"""Everything that can go wrong in ``learning``, as one tree.

LearningError
├── TrainingDataTooSmall    too few rows or frauds to fit or to judge a model
├── TrainingDataUnusable    a column that training needs is missing
├── ArtefactRefused         a model's files must not be served; says which rule they break
├── NotPromoted             a version may not become the champion, or not any more
├── NothingBefore           there is no version to go back to
├── UnknownVersion          no version has that number, or none serves
├── NotReproducible         a version's record does not lead back to its rows
└── RegistryError           the model registry refused, or holds something unexpected
    └── RegistryUnavailable the MLflow server does not answer
"""


class LearningError(Exception):
    """Root of the errors of this package."""


class TrainingDataTooSmall(LearningError):
    """Too few rows or frauds to fit a model or to judge it."""


class SearchUnfinished(LearningError):
    """Time was up before a search of settings had measured anything."""


class TrainingDataUnusable(LearningError):
    """The training set lacks a column, or holds labels that are not known."""


class ArtefactRefused(LearningError):
    """A model's files are not what was signed, or not what this service can serve.

    Attributes:
        reason: One stable word, for metrics: no_key, unsigned, wrong_key, tampered, sha256, malformed, fingerprint,
            features, unequal.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotPromoted(LearningError):
    """A version may not become the champion: it was not proposed, or things have changed since."""


class NothingBefore(LearningError):
    """There is no version to go back to, or the one that was named never served."""


class UnknownVersion(LearningError):
    """No version of the registered model has that number, or none serves."""


class NotReproducible(LearningError):
    """What a version's record names is not there any more, or is not what it was."""


class RegistryError(LearningError):
    """The model registry refused a request, or an artefact is not what it claims to be."""


class RegistryUnavailable(RegistryError):
    """The MLflow server does not answer."""
