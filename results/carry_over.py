"""Name the runs of committed studies by what differs from the defaults: done once, and shown to change nothing else.

`python results/carry_over.py results` rewrites runs.parquet, steps.parquet and provenance.json of every packed study
below the folder, having checked that every column of every step, and every setting and figure of every run, is what it
was, byte for byte, but for the id.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from horovod_runner.analysis.load import pack
from horovod_runner.analysis.load.runs import Run
from horovod_runner.results.store import read_json, write_bytes, write_json


def carry_over(study: Path) -> dict[str, str]:
    """Rename every run of a packed study, and return the names by their old ones."""
    runs, shared = pack.read_packed(study), read_json(study / pack.PROVENANCE)
    names = {run.result.run_id: run.config.run_id for run in runs}
    assert len(set(names.values())) == len(names) == len(runs), f"{study}: names are not unique"
    renamed = [_renamed(run, study) for run in runs]
    texts = pyarrow.parquet.read_table(study / pack.RUNS)
    steps = pack._read(study / pack.STEPS, None)
    today = pack._of_today(steps)
    ids = pyarrow.array([names[name] for name in today["run_id"].to_pylist()], pyarrow.string())
    carried = today.set_column(today.schema.get_field_index("run_id"), "run_id", ids)
    provenances = {"common": shared["common"], "runs": {names[name]: own for name, own in shared["runs"].items()}}
    write_bytes(study / pack.STEPS, pack._parquet(carried))
    write_json(study / pack.PROVENANCE, {"schema": shared["schema"], **provenances})
    write_bytes(study / pack.RUNS, pack._parquet(pack._run_table(renamed)))
    _check_steps(steps, pack._read(study / pack.STEPS, None), names)
    _check_runs(texts, pyarrow.parquet.read_table(study / pack.RUNS), names)
    _check_provenance(shared, read_json(study / pack.PROVENANCE), names)
    for old, new in zip(runs, pack.read_packed(study), strict=True):
        assert new.config == old.config and new.config.run_id == new.result.run_id == new.folder.name
        assert dict(new.provenance) == dict(old.provenance)
    return names


def _renamed(run: Run, study: Path) -> Run:
    name = run.config.run_id
    result = run.result.model_copy(update={"run_id": name})
    return Run(study / name, run.config, result, run.provenance, packed=True)


def _bytes(column: pyarrow.ChunkedArray) -> bytes:
    """Return a column's values as Arrow writes them: bit for bit, missing ones and NaN apart."""
    sink = pyarrow.BufferOutputStream()
    table = pyarrow.table({"values": column.combine_chunks()})
    with pyarrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def _check_steps(old: pyarrow.Table, new: pyarrow.Table, names: dict[str, str]) -> None:
    assert new["run_id"].to_pylist() == [names[name] for name in old["run_id"].to_pylist()]
    for name in old.column_names:
        if name != "run_id":
            assert _bytes(new[name].cast(old[name].type)) == _bytes(old[name]), name
    for name in set(new.column_names) - set(old.column_names):
        assert new[name].null_count == len(new), name


def _check_runs(old: pyarrow.Table, new: pyarrow.Table, names: dict[str, str]) -> None:
    texts = ("config_json", "result_json", "run_id")
    assert new["run_id"].to_pylist() == [names[name] for name in old["run_id"].to_pylist()]
    for name in old.column_names:
        if name not in texts:
            assert new[name].to_pylist() == old[name].to_pylist(), name
    for before, after in zip(old["config_json"].to_pylist(), new["config_json"].to_pylist(), strict=True):
        _check_kept(json.loads(before), json.loads(after))
    for before, after in zip(old["result_json"].to_pylist(), new["result_json"].to_pylist(), strict=True):
        was, now = json.loads(before), json.loads(after)
        assert now["run_id"] == names[was["run_id"]]
        _check_kept({**was, "run_id": now["run_id"]}, now)


def _check_kept(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Hold every value that was there to be there still, as its text."""
    for key, value in old.items():
        if isinstance(value, dict) and isinstance(new[key], dict):
            _check_kept(value, new[key])
        else:
            assert json.dumps(new[key]) == json.dumps(value), (key, value, new[key])


def _check_provenance(old: dict[str, Any], new: dict[str, Any], names: dict[str, str]) -> None:
    assert new == {**old, "runs": {names[name]: own for name, own in old["runs"].items()}}
    assert [*new["runs"]] == [names[name] for name in old["runs"]]


def main() -> int:
    """Carry over every packed study below the folder that is named."""
    for study in sorted(path.parent for path in Path(sys.argv[1]).glob("*/runs.parquet")):
        names = carry_over(study)
        print(f"{study}: {len(names)} runs, {sum(old != new for old, new in names.items())} renamed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
