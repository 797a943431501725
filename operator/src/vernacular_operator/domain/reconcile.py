"""The decision about one job: a chain of small policies from a snapshot to a plan.

Pure: no clock, no input or output.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from vernacular_operator.domain.draft import Draft
from vernacular_operator.domain.plan import Plan
from vernacular_operator.domain.policies import (
    acceptance,
    deadline,
    lost_pods,
    progress,
    stages,
    suspension,
    time_to_live,
    tracking,
    usage,
)
from vernacular_operator.domain.snapshot import Snapshot
from vernacular_operator.manifests.runtime import settings

_CHAIN = (
    acceptance.apply,
    suspension.apply,
    # before what may end the job: its end is told to a run that is named
    tracking.apply,
    deadline.apply,
    lost_pods.apply,
    progress.apply,
    stages.apply,
)


def reconcile(world: Snapshot, now: datetime) -> Plan:
    """What to do about one job at this moment: nothing for one that is being deleted, and one that has ended only
    waits for the end of its time to live.
    """
    draft = Draft(replace(world, config=settings(world.config, world.job.status.runtime)), now)
    if world.job.metadata.deletion_timestamp:
        return draft.plan()
    if draft.status.terminal:
        time_to_live.apply(draft)
        return draft.plan()
    for policy in _CHAIN:
        policy(draft)
        if draft.settled:
            break
    tracking.postpone(draft)
    # last: what is counted is no reason to write
    usage.apply(draft)
    return draft.plan()
