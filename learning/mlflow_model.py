"""The ensemble as a model of MLflow's own kind: for its pages and tools, which know nothing of ours.

Serving does not come by here: it reads the signed artefact itself.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.pyfunc.model import PythonModel

from learning.ensemble import load_ensemble
from learning.scoring import probabilities

ARTEFACT = "artefact"


class EnsembleModel(PythonModel):
    """Features in, probability of fraud out."""

    def load_context(self, context: Any) -> None:
        """Read the artefact."""
        self._ensemble = load_ensemble(Path(context.artifacts[ARTEFACT]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:  # noqa: ARG002
        """Probability of fraud of each row; columns are features, those that are missing are unknown.

        Args:
            context: MLflow's.
            model_input: The rows.
            params: MLflow's; none is known.
        """
        return probabilities(self._ensemble, model_input)
