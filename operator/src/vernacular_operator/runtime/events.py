"""Posts events in the background, one at a time, and slowly while jobs wait: they hold up no child and no status."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from datetime import datetime

from vernacular.api import FineTuneJob
from vernacular.api.base import timestamp
from vernacular.api.constants import API_VERSION, KIND
from vernacular_operator.domain.plan import Event
from vernacular_operator.kube.api import EVENTS, KubeApi, Object
from vernacular_operator.kube.errors import AlreadyExistsError, KubeError

_log = logging.getLogger(__name__)
COMPONENT = "vernacular-operator"
_MESSAGE_LIMIT = 1024
_GIVE_WAY_SECONDS = 0.05


class EventPoster:
    """Events are a courtesy, the status says the same: what is not posted when the operator dies is lost.

    While there is more to do than workers to do it (`busy`), at most twenty are posted a second.
    """

    def __init__(self, api: KubeApi, busy: Callable[[], bool]) -> None:
        self._api = api
        self._busy = busy
        self._waiting: asyncio.Queue[Object] = asyncio.Queue()

    def tell(self, job: FineTuneJob, event: Event, now: datetime) -> None:
        """Have an event posted; the status that it tells of is stored."""
        self._waiting.put_nowait(_body(job, event, now))

    async def run(self) -> None:
        """Post for ever, in order."""
        while True:
            if self._busy():
                await asyncio.sleep(_GIVE_WAY_SECONDS)
            await self._post(await self._waiting.get())

    async def drain(self) -> None:
        """Post what waits."""
        while not self._waiting.empty():
            await self._post(self._waiting.get_nowait())

    async def _post(self, body: Object) -> None:
        involved = body["involvedObject"]
        try:
            await self._api.create(EVENTS, involved["namespace"], body)
        except AlreadyExistsError:
            return
        except KubeError as error:
            _log.warning("event %s of %s/%s: %s", body["reason"], involved["namespace"], involved["name"], error)


def _body(job: FineTuneJob, event: Event, now: datetime) -> Object:
    moment = timestamp(now)
    identity = "\n".join((job.metadata.uid, event.type, event.reason, event.message))
    # the same name for the same event: told once, however often it comes about
    name = f"{job.metadata.name}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": job.metadata.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": job.metadata.name,
            "namespace": job.metadata.namespace,
            "uid": job.metadata.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:_MESSAGE_LIMIT],
        "source": {"component": COMPONENT},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
