"""The headless Service that gives the pods of one training attempt their names."""

from __future__ import annotations

from typing import Any

from vernacular.api import FineTuneJob, Stage
from vernacular.api.names import attempt_labels
from vernacular_operator.manifests.common import attempt_metadata
from vernacular_trainer.contract import RENDEZVOUS_PORT


def headless_service(job: FineTuneJob, attempt: int) -> dict[str, Any]:
    """The Service of one attempt; its selector meets no pod of another attempt.

    Pods that are not ready are left out, so that the address of a pod on a lost node disappears.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": attempt_metadata(job, Stage.TRAIN, attempt),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": False,
            "selector": attempt_labels(job.metadata.name, job.metadata.uid, Stage.TRAIN, attempt),
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT, "targetPort": RENDEZVOUS_PORT}],
        },
    }
