"""What a store says when it cannot answer.

StoreError
├── StoreAway        it does not answer, or takes nothing; nothing was written
├── OutcomeUnknown   it did not say whether it committed; the record's id tells, once it answers again
├── LayoutMismatch   its blobs have another layout than this build
├── StoreLoading     it changes to its next generation, or is not built yet; try again in a moment
├── StoreLost        its content is gone; it is built anew from lake and logs
├── StoreDoubtful    another server answers than before; its content must be compared with the logs first
└── BuildBusy        somebody else builds a generation
"""


class StoreError(Exception):
    """The store cannot answer."""


class StoreAway(StoreError):
    """It does not answer, or takes nothing; nothing was written."""


class OutcomeUnknown(StoreError):
    """It did not say whether it committed; the record's id tells, once it answers again."""


class LayoutMismatch(StoreError):
    """The store's blobs have another layout than this build."""


class StoreLoading(StoreError):
    """It changes to its next generation, or is not built yet; try again in a moment."""


class StoreLost(StoreError):
    """Its content is gone; it is built anew from lake and logs."""


class StoreDoubtful(StoreError):
    """Another server answers than before; its content must be compared with the logs first."""


class BuildBusy(StoreError):
    """Somebody else builds a generation."""
