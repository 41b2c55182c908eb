"""Why the bronze query cannot go on; every message says where and what to do next.

BronzeError
├── TopicRecreated      a topic's offsets mean other messages than the table's
├── CheckpointBehind    the checkpoint repeats batch numbers that a table has seen
├── CheckpointDamaged   a file of the checkpoint is not whole
├── TableDamaged        a file of a table is missing or not whole
└── QueryFailed         Spark gave up, or its process is gone; the message names the cause
"""


class BronzeError(Exception):
    """The bronze query cannot go on."""


class TopicRecreated(BronzeError):
    """A topic's offsets mean other messages than the table's."""


class CheckpointBehind(BronzeError):
    """The checkpoint repeats batch numbers that a table has seen."""


class CheckpointDamaged(BronzeError):
    """A file of the checkpoint is not whole."""


class TableDamaged(BronzeError):
    """A file of a table is missing or not whole."""


class QueryFailed(BronzeError):
    """Spark gave up, or its process is gone."""
