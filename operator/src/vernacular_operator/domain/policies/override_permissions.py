"""What a job may set in `podOverrides`: who may only create jobs must not gain the rights of those who make pods."""

from __future__ import annotations

from collections.abc import Iterator

from vernacular.api import FineTuneJob
from vernacular.api.pod_overrides import PodOverride
from vernacular_operator.config import OperatorConfig


def problem(job: FineTuneJob, config: OperatorConfig) -> str:
    """The first field that is not allowed and what to do about it, "" when everything is."""
    found = (
        f"spec.podOverrides[{index}].{text}"
        for index, override in enumerate(job.spec.pod_overrides or ())
        for text in _problems(job, override, config)
    )
    return next(found, "")


def _problems(job: FineTuneJob, override: PodOverride, config: OperatorConfig) -> Iterator[str]:
    allowed, ask = config.pod_overrides, "is not allowed here; ask the platform team to set the chart's value"
    if override.env and not allowed.env:
        yield f"env {ask} config.podOverrides.env to true"
    if override.volumes and not allowed.volumes:
        yield f"volumes {ask} config.podOverrides.volumes to true"
    account = override.service_account_name
    if account and not allowed.allows_service_account(account):
        yield (
            f"serviceAccountName: {account} is not allowed here;"
            " ask the platform team to add it to the chart's value config.podOverrides.serviceAccountNames"
        )
    gpu = job.spec.compute.gpu_resource
    resources = override.resources
    if resources and gpu in {**(resources.requests or {}), **(resources.limits or {})}:
        yield f"resources names {gpu}, which spec.compute.gpusPerPod asks for; set it there"
