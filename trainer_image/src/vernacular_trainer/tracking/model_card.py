"""The model card: what this model is, what it was taught, how it did, and what it cannot do. Pure."""

from __future__ import annotations

from typing import Any

from vernacular_trainer.contract import JobConfig


def model_card(config: JobConfig, data: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """Markdown with a front matter, from the job and the reports of prepare and evaluate."""
    parts = (_front_matter(config, data), _origin(config, data), _results(evaluation), _limits(data, evaluation))
    return "\n".join(line for part in parts for line in part) + "\n"


def _front_matter(config: JobConfig, data: dict[str, Any]) -> list[str]:
    licence = data["model"]["licence"]
    return ["---", f"base_model: {config.model.uri}", *([f"license: {licence}"] if licence else []), "---", ""]


def _origin(config: JobConfig, data: dict[str, Any]) -> list[str]:
    model, identity = data["model"], config.identity
    version = f", commit {model['commit']}" if model["commit"] else ""
    return [
        f"# {config.publish.registered_model}",
        "",
        f"Made by the FineTuneJob `{identity.namespace}/{identity.name}` (uid `{identity.uid}`).",
        "",
        "## Origin",
        "",
        f"- Base model: `{model['uri']}` ({model['architecture']}{version})",
        f"- Licence of the base model: {model['licence'] or 'not stated in its files, check before sharing'}",
        f"- Data: {data['rows']} rows, {data['train']} for training, {data['validation']} held out; `{data['digest']}`",
        f"- Method: {data['plan_summary']}",
        "",
    ]


def _results(evaluation: dict[str, Any]) -> list[str]:
    gain = evaluation["gain_points"]
    lines = ["## Results", "", f"{evaluation['summary']} Verdict: **{evaluation['verdict']}**.", ""]
    if evaluation["notice"]:
        lines += [evaluation["notice"], ""]
    if not evaluation["questions"]:
        return lines
    rows = [
        f"| {name} | {counts['correct']} | {counts['wrong']} | {counts['declined']} | {counts['invented']} |"
        for name, counts in (("base", evaluation["base"]), ("tuned", evaluation["tuned"]))
    ]
    return [
        *lines,
        "| model | correct | wrong | declined | invented |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"Gain {gain['value']} points (95 % interval {gain['low']} to {gain['high']}).",
        *_beside(evaluation),
        "",
    ]


def _beside(evaluation: dict[str, Any]) -> list[str]:
    """What training was compared with, and what it cost."""
    lines = []
    if prompted := evaluation["prompted"]:
        lines.append(
            f"Without training, with matching rows in its prompt, the base has {prompted['counts']['correct']} of"
            f" {prompted['asked']} right, this model {prompted['tuned_correct']}."
        )
    judge = evaluation.get("judge") or {}
    if any(judge.get(name) for name in ("tuned", "base", "equal", "unsure")):
        lines.append(
            f"`{judge['model']}`, asked which answer is better, prefers this model {judge['tuned']} times and the base"
            f" {judge['base']} times; {judge['equal']} times it finds both alike, {judge['unsure']} times it is unsure."
        )
    if (lost := evaluation["general_regression_percent"]) is not None:
        lines.append(f"Of what the base knew about the world {lost} % is forgotten.")
    return lines


def _limits(data: dict[str, Any], evaluation: dict[str, Any]) -> list[str]:
    found = [f"- {problem['code']}: {problem['count']} rows. {problem['advice']}" for problem in data["problems"]]
    return [
        "## Limits",
        "",
        "- It can be wrong about anything, most of all about what its data did not teach; check answers that matter.",
        "- It was tested on the held-out questions alone, without sampling.",
        f"- Serving: {evaluation['serving']['reason']}.",
        *found,
    ]
