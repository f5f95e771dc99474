"""What commands read besides runs: grids and queues, also made to do harm; speeds, the paper's numbers, captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from parmesan_cagem import config, grid, provenance, run_queue, speeds
from parmesan_cagem.report import html_figures, missing, paper, render, tables
from torture.damage_malicious import Case, sparse
from torture.damage_mutate import bytes_of, json_of
from torture.damage_shared import ROOT
from torture.damage_worker import Format


def formats() -> list[Format]:
    """Each through the function that its command calls."""
    captions = {"figure4": {"caption": "a caption", "runs": ["run"], "files": ["figure4.svg"]}}
    queue = (ROOT / "tools" / "gpu_queue.txt").read_bytes()
    yaml = (ROOT / "workflow" / "reduced.yaml").read_bytes()
    times = json.loads((ROOT / "workflow" / "speeds.json").read_bytes())
    times = {**times, **{kind: times[kind][:2] for kind in speeds.KINDS}}  # of all, building takes most of the time
    numbers = json.loads((ROOT / "results" / "paper.json").read_bytes())
    source = {"commit": "ab" * 20, "dirty": False}
    one = config.experiment("paper", labels=100)

    def devices(path: Path) -> Any:
        return [str(device.seconds(one)) + device.reasoning for device in speeds.read(path)]

    def published(path: Path) -> Any:
        found = paper.load(path)
        made = tables.build((), found, mixed=True)
        missing.find((), found, "paper", path.parent)
        return [render.markdown(table) for table in made]

    def figures(path: Path) -> Any:
        path.rename(path.parent / "captions.json")
        (path.parent / "figure4.svg").write_text("<svg/>")
        return str(html_figures.section(path.parent))

    def written(path: Path) -> Any:
        provenance.source_file = lambda: path  # type: ignore[assignment]
        return provenance._written_state()

    def planned(path: Path) -> Any:
        found = grid.read(path, "smoke", path.parent / "runs")
        return found.shards, [run.name for run in found.runs]

    def queued(path: Path) -> Any:
        return [entry.command for entry in run_queue.read(path, path.parent / "runs")]

    return [
        Format("grid.yaml", bytes_of(yaml, yaml[-600:]), planned, yaml, share=1500, public=True),
        Format("queue", bytes_of(queue), queued, queue, share=1000, public=True),
        Format("speeds.json", json_of(times), devices, json.dumps(times).encode(), share=2000, public=True),
        Format("paper.json", json_of(numbers), published, json.dumps(numbers).encode(), share=600, public=True),
        Format("captions.json", json_of(captions), figures, json.dumps(captions).encode(), share=2000, public=True),
        Format("source.json", json_of(source), written, json.dumps(source).encode(), share=1000, public=True),
    ]


def cases() -> list[Case]:
    """Grids that grow without end or name code; queues of other commands."""

    def load(path: Path) -> Any:
        return grid.read(path, "smoke", path.parent)

    def queue(path: Path) -> Any:
        return run_queue.read(path, path.parent)

    laughs = "a0: &a0 [ha, ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    merges = "a0: &a0 {k: v}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9)
    )
    ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
    crossed = (
        "runs: [{for: x, "
        + ", ".join(f"{name}: {ten}" for name in ("seed", "label_seed", "epochs", "narrow", "wide", "z1_dim", "z2_dim"))
        + "}]"
    )
    texts = {
        "a billion laughs": laughs + "runs: *a11\n",
        "merged keys": merges + "runs: [{for: x}]\n",
        "itself": "runs: &a [*a]",
        "ten million runs": crossed,
        "code": "runs: !!python/object/apply:os.system ['touch harm']",
        "deep": "[" * 30_000,
        "digits": "runs: [{for: x, seed: 0x" + "f" * 30_000 + "}]",
        "parts": "shards: 1000000000\nruns: [{for: x, labels: 10}]",
        "not a text": "runs: [{for: x, model: !!binary AAAA}]",
    }
    made = [(f"grid: {name}", text.encode(), load) for name, text in texts.items()]
    made += [("grid: 3 GiB", b"#", sparse(load)), ("queue: 3 GiB", b"#", sparse(queue))]
    lines = {"escape": "run_mnist.py --name ../harm", "shell": "run_mnist.py; touch harm"}
    return [*made, *((f"queue: {name}", text.encode(), queue) for name, text in lines.items())]
