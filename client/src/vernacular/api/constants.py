"""Names of the API group, its resource and the labels that every child carries."""

from __future__ import annotations

GROUP = "vernacular.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "FineTuneJob"
LIST_KIND = "FineTuneJobList"
PLURAL = "finetunejobs"
SINGULAR = "finetunejob"
SHORT_NAME = "ftj"
CATEGORY = "finetune"

RUNTIME_KIND = "FineTuneRuntime"
RUNTIME_LIST_KIND = "FineTuneRuntimeList"
RUNTIME_PLURAL = "finetuneruntimes"
RUNTIME_SINGULAR = "finetuneruntime"
RUNTIME_SHORT_NAME = "ftr"

ANNOTATION_DEFAULT = f"{GROUP}/default"
LABEL_JOB_NAME = f"{GROUP}/job-name"
LABEL_JOB_UID = f"{GROUP}/job-uid"
LABEL_STAGE = f"{GROUP}/stage"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "vernacular"

DEFAULT_GPU_RESOURCE = "nvidia.com/gpu"
DEFAULT_ALIAS = "candidate"
DEFAULT_PROMOTED_ALIAS = "champion"
MAX_NAME_LENGTH = 40
# of the training rows, when a job does not say what is kept back
DEFAULT_SPLIT_PERCENT = 10
