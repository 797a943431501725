"""YAML documents with the line of every part, read as kubectl reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlError(Exception):
    """A text that is no YAML, or says one thing twice. `line` counts from 1."""

    line: int
    message: str


@dataclass(frozen=True)
class Document:
    """One document: its value, and where its parts stand in the file."""

    value: Any
    node: Node

    def line(self, path: Path) -> int:
        """Line of a part, from 1; for what is not there the line of what it would be part of."""
        return int(self._nearest(path)[0].start_mark.line) + 1

    def written(self, path: Path) -> str | None:
        """A plain value as it is written in the file, without quotes; None when there is none."""
        key, node = self._nearest(path)
        return str(node.value) if isinstance(node, ScalarNode) and key is not self.node else None

    def _nearest(self, path: Path) -> tuple[Node, Node]:
        """The node that a line number is about, which is a key where there is one, and the node of the value."""
        place = node = self.node
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            place, node = found
        return place, node


def documents(text: str) -> Iterator[Document]:
    """Every document of a file that says something. Raises YamlError."""
    loader = KubectlLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            _refuse_doubles(node)
            value = loader.construct_document(node)
            if value is not None:
                yield Document(value, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, f"this is no YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(1, f"this is no YAML: {error}") from None
    finally:
        loader.dispose()


class KubectlLoader(yaml.SafeLoader):
    """Resolves plain values as kubectl does: 2e-4 is a number, on is true, 2026-01-02 and 1:30 are texts."""


_INFINITE = r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
KubectlLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"y|n|(?i:yes|no|true|false|on|off)", "yYnNtTfFoO"),
    ("int", r"[-+]?(0|[1-9][0-9]*|0[0-7]+|0x[0-9a-fA-F]+)", "-+0123456789"),
    ("float", rf"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|{_INFINITE}", "-+0123456789."),
    ("merge", r"<<", "<"),
):
    # an empty text begins with nothing
    KubectlLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), [*_first, ""])

_TRUE = frozenset({"y", "yes", "true", "on"})


def _boolean(loader: yaml.SafeLoader, node: ScalarNode) -> bool:
    return str(node.value).lower() in _TRUE


KubectlLoader.add_constructor("tag:yaml.org,2002:bool", _boolean)


def _child(node: Node, step: str | int) -> tuple[Node, Node] | None:
    if isinstance(node, MappingNode):
        return next(((key, value) for key, value in node.value if key.value == str(step)), None)
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def _refuse_doubles(node: Node) -> None:
    """The second of two equal keys would win without a word."""
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                if key.value in seen and key.value != "<<":
                    raise YamlError(key.start_mark.line + 1, f"{key.value} is written twice")
                seen.add(key.value)
            _refuse_doubles(value)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            _refuse_doubles(item)
