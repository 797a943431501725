"""Strings of a spec: each with a pattern, a length and one message that says what to write instead."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from vernacular.api.base import Checked, cel, rules

DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_NAME = rf"{DNS_LABEL}([.]{DNS_LABEL})*"
_PATH = r"(/([^/.\x00-\x1f][^/\x00-\x1f]*|\.[^/.\x00-\x1f][^/\x00-\x1f]*|\.\.[^/\x00-\x1f]+))+"
LABEL_KEY = rf"({_DNS_NAME}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
_LABEL_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_HUB_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_RULES = "the names of hubs have at most 96 characters, no '--' or '..', and do not end with '-', '.' or '.git'"
# "datasets" is how addresses of the hub's pages begin
_NO_HUB_NAMES = r"^hf://(datasets/|[^/]+/[^/]*[.]git(/|$)|[^/]*(/[^/]*)?(--|[.][.]))"
# an object or, with "/" at the end, all below it
_OBJECT = rf"s3://[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9](/|{_PATH}/?)"
_OBJECT_RULES = "keys with '//', or '.' or '..' between slashes, cannot be read"
# one file, without user, password or query: those are secrets, and everybody can read a spec
_WEB = rf"https://{_DNS_NAME}(:[1-9][0-9]{{0,4}})?(/[A-Za-z0-9._~%+,=@:-]+)+"
_RUN_FILE = rf"mlflow://runs/[0-9a-f]{{32}}{_PATH}"
_HUB_NAMES = (f"!self.matches('{_NO_HUB_NAMES}')", lambda uri: not re.match(_NO_HUB_NAMES, uri))
_DECIMAL = r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,12})?([eE]-?[0-9]{1,2})?"

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Checked(_DNS_NAME, "must be the name of an object in this namespace: lower-case letters, digits, '-' and '.'"),
]
NamespaceName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Checked(DNS_LABEL, "must be the name of a namespace: lower-case letters, digits and '-'"),
]
ClusterObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Checked(_DNS_NAME, "must be the name of an object of the cluster: lower-case letters, digits, '-' and '.'"),
]
ConfigMapKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Checked(
        r"[-._a-zA-Z0-9]+",
        "must be a key of the ConfigMap: letters, digits, '-', '_' and '.', not beginning with '..'",
        also=("self != '.' && !self.startsWith('..')", lambda key: key != "." and not key.startswith("..")),
    ),
]
ModelURI = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    Checked(
        rf"pvc://{_DNS_NAME}{_PATH}/?|hf://{_HUB_NAME}/{_HUB_NAME}|{_OBJECT}",
        "must be pvc://CLAIM/PATH (a model folder on a PersistentVolumeClaim of this namespace), hf://ORGANISATION/MODEL"
        f" or s3://BUCKET/PATH (a model folder in a bucket); {_HUB_RULES}; {_OBJECT_RULES}",
        also=_HUB_NAMES,
    ),
]
FileURI = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    Checked(
        rf"pvc://{_DNS_NAME}{_PATH}|{_OBJECT}|hf://{_HUB_NAME}/{_HUB_NAME}({_PATH})?/?|{_WEB}|{_RUN_FILE}",
        "must be pvc://CLAIM/PATH/FILE (a file on a PersistentVolumeClaim of this namespace), s3://BUCKET/KEY,"
        " hf://ORGANISATION/DATASET/FILE, mlflow://runs/RUN/FILE (RUN: its 32 letters and digits) or https://HOST/FILE"
        f" without '?'; {_HUB_RULES}; {_OBJECT_RULES}",
        also=_HUB_NAMES,
    ),
]
Revision = Annotated[
    str,
    Field(min_length=1, max_length=256),
    Checked(r"[A-Za-z0-9][A-Za-z0-9._/-]*", "must be a branch, tag or commit of the model or data set"),
]
Endpoint = Annotated[
    str,
    Field(min_length=1, max_length=512),
    Checked(
        r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?",
        "must be an address like https://minio.example.com:9000, without user and password",
    ),
]
ServiceModel = Annotated[
    str,
    Field(min_length=1, max_length=256),
    Checked(r"[A-Za-z0-9][A-Za-z0-9 @:._/-]*", "must be the name of a model, as its server knows it"),
]
TrackingName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Checked(
        r"[A-Za-z0-9][A-Za-z0-9 ._-]*",
        "must start with a letter or digit, followed by letters, digits, spaces, '.', '_' and '-'",
    ),
]
Alias = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Checked(
        r"[A-Za-z0-9_-]+",
        "must consist of letters, digits, '_' and '-'; MLflow keeps 'latest' and names like 'v3' for itself",
        also=(
            "self.lowerAscii() != 'latest' && !self.matches('^[vV][0-9]+$')",
            lambda alias: alias.lower() != "latest" and not (alias[0] in "vV" and alias[1:].isdigit()),
        ),
    ),
]
LearningRate = Annotated[
    str,
    Field(min_length=1, max_length=32),
    Checked(
        _DECIMAL,
        'must be a decimal number above 0 and at most 1, in quotes, like "2e-4"',
        also=("double(self) > 0.0 && double(self) <= 1.0", lambda text: 0 < float(text) <= 1),
    ),
]
WeightDecay = Annotated[
    str,
    Field(min_length=1, max_length=32),
    Checked(
        _DECIMAL,
        'must be a decimal number from 0 to 1, in quotes, like "0.01"',
        also=("double(self) <= 1.0", lambda text: float(text) <= 1),
    ),
]
MaxGradNorm = Annotated[
    str,
    Field(min_length=1, max_length=32),
    Checked(
        _DECIMAL,
        'must be a decimal number above 0, in quotes, like "1.0"',
        also=("double(self) > 0.0", lambda text: float(text) > 0),
    ),
]
Beta = Annotated[
    str,
    Field(min_length=1, max_length=32),
    Checked(
        _DECIMAL,
        'must be a decimal number above 0, at most 10, in quotes, like "0.1"',
        also=("double(self) > 0.0 && double(self) <= 10.0", lambda text: 0 < float(text) <= 10),
    ),
]
MinDelta = Annotated[
    str,
    Field(min_length=1, max_length=32),
    Checked(
        _DECIMAL,
        'must be a decimal number from 0 to 10, in quotes, like "0.001"',
        also=("double(self) <= 10.0", lambda text: float(text) <= 10),
    ),
]
ModuleName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Checked(
        r"[A-Za-z0-9_][A-Za-z0-9_.-]*", 'must be the name of a module of the model, like "q_proj", or "all-linear"'
    ),
]
ResourceName = Annotated[
    str,
    Field(min_length=1, max_length=317),
    Checked(
        rf"{_DNS_NAME}/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?",
        "must be the name of an extended resource of the nodes, like nvidia.com/gpu",
    ),
]
StorageSize = Annotated[
    str,
    Field(min_length=1, max_length=32),
    Checked(
        r"[0-9]{1,15}(\.[0-9]{1,9})?([KMGTPE]i|[kMGTPE]|[eE][0-9]{1,2})?",
        "must be a size above 0, like 20Gi",
        also=(
            "quantity(self).isGreaterThan(quantity('0'))",
            lambda size: re.match(r"[0.]*[1-9]", size) is not None,
        ),
    ),
]
Price = Annotated[
    str,
    Field(min_length=1, max_length=32),
    Checked(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,6})?", 'must be a decimal number in quotes, like "2.50"'),
]
Currency = Annotated[
    str,
    Field(min_length=3, max_length=3),
    Checked("[A-Z]{3}", "must be the three letters of a currency, like EUR"),
]
ArgumentName = Annotated[str, Field(max_length=64)]
ArgumentValue = Annotated[str, Field(min_length=1, max_length=64)]
TagKey = Annotated[str, Field(max_length=250)]
TagValue = Annotated[str, Field(max_length=500)]
LabelKey = Annotated[
    str,
    Field(min_length=1, max_length=317),
    Checked(LABEL_KEY, "must be the name of a label, like example.com/pool"),
]
LabelValue = Annotated[
    str,
    Field(max_length=63),
    Checked(_LABEL_VALUE, "must be the value of a label: letters, digits, '-', '_' and '.', at most 63 characters"),
]
LabelMap = Annotated[
    dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=63)]],
    Field(
        max_length=16,
        json_schema_extra=rules(
            cel(
                f"self.all(key, key.matches('^{LABEL_KEY}$') && self[key].matches('^({_LABEL_VALUE})$'))",
                "must be labels with their values: letters, digits, '-', '_' and '.', like example.com/pool: gpu",
            )
        ),
    ),
]
ResourceMap = Annotated[
    dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=32)]],
    Field(
        max_length=16,
        json_schema_extra=rules(
            cel(
                f"self.all(key, key.matches('^{LABEL_KEY}$') && isQuantity(self[key])"
                " && !quantity(self[key]).isLessThan(quantity('0')))",
                'must be resources with their amounts in quotes, like memory: "8Gi"',
            )
        ),
    ),
]
ImageName = Annotated[
    str,
    Field(min_length=1, max_length=512),
    Checked(
        r"[A-Za-z0-9][A-Za-z0-9._-]*([:/][A-Za-z0-9][A-Za-z0-9._-]*)*(@sha256:[0-9a-f]{64})?",
        "must be the name of an image, like registry.example.com/vernacular/trainer:1.0",
    ),
]
