"""A finished study as a few files, so that a clone stays small: `runs.parquet`, `steps.parquet`, `provenance.json`,
and `predictions.parquet` where runs have classified.

Nothing is lost: runs.parquet has a column for every setting and figure, for whoever opens it with other tools, and
beside them config.json and result.json as text, from which runs are read back; steps.parquet holds every recorded step,
NaN and missing kept apart; predictions.parquet what each validation example was taken for at the end; provenance.json
states once what all runs share, and for each run what differs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from horovod_runner.analysis.load.runs import Run, read_loose
from horovod_runner.config.stored import decode_stored, encode_stored
from horovod_runner.errors import UserError
from horovod_runner.results.predictions import Predictions, read_predictions
from horovod_runner.results.record import StepRecord, result_from_json
from horovod_runner.results.store import RunFolder, read_json, write_bytes, write_json

if TYPE_CHECKING:
    import pyarrow

PACK_SCHEMA = 1
RUNS, STEPS, PROVENANCE = "runs.parquet", "steps.parquet", "provenance.json"
PREDICTIONS = "predictions.parquet"


def is_packed(experiment: Path) -> bool:
    """Whether the folder of an experiment holds a packed study; runs.parquet is written last."""
    return (experiment / RUNS).is_file()


def pack(experiment: Path) -> list[Path]:
    """Write the finished runs of an experiment's folder as a packed study beside them, and return its files.

    Runs that were packed earlier and are no longer there as folders stay in; those that are there replace their packed
    selves, whatever an earlier version called these. The folders are left alone. UserError when there is no finished
    run, or the folder cannot be written.
    """
    import pyarrow

    loose = sorted(read_loose(experiment), key=lambda run: run.result.run_id)
    if not loose:
        raise UserError(f"{experiment} holds no finished run to pack; name an experiment's folder, as results/bench")
    tables = [_step_table(run.result.run_id, RunFolder(run.folder).read_steps()) for run in loose]
    predicted = [_prediction_table(run) for run in loose if RunFolder(run.folder).predictions_file.exists()]
    if is_packed(experiment):
        ids = {run.config.run_id for run in loose}
        kept = [run for run in read_packed(experiment) if run.config.run_id not in ids]
        names = [run.result.run_id for run in kept]
        tables.append(packed_steps(experiment, names))
        predicted += [packed_predictions(experiment, names)]
        loose = loose + kept
    files = [experiment / STEPS, experiment / PROVENANCE, experiment / RUNS]
    if any(len(table) for table in predicted):
        files.insert(0, experiment / PREDICTIONS)
        write_bytes(files[0], _parquet(pyarrow.concat_tables(predicted)))
    write_bytes(experiment / STEPS, _parquet(pyarrow.concat_tables(tables)))
    write_json(experiment / PROVENANCE, _common_first({run.result.run_id: run.provenance for run in loose}))
    write_bytes(experiment / RUNS, _parquet(_run_table(loose)))
    return files


def read_packed(experiment: Path) -> list[Run]:
    """Return the runs of a packed study; UserError names a file that is damaged or of another version."""
    file = experiment / RUNS
    texts = _read(file, ["config_json", "result_json"])
    shared = read_json(experiment / PROVENANCE)
    runs = []
    for settings, text in zip(*(texts[name].to_pylist() for name in ("config_json", "result_json")), strict=True):
        config, result = decode_stored(json.loads(settings), str(file)), result_from_json(text, str(file))
        provenance = {**shared["common"], **shared["runs"].get(result.run_id, {})}
        runs.append(Run(experiment / result.run_id, config, result, provenance, packed=True))
    return runs


def packed_steps(experiment: Path, run_ids: Sequence[str]) -> pyarrow.Table:
    """Return the recorded steps of these runs of a packed study, with the column `run_id`; UserError as above."""
    import pyarrow.compute

    steps = _of_today(_read(experiment / STEPS, None))
    return steps.filter(pyarrow.compute.is_in(steps["run_id"], pyarrow.array(run_ids, pyarrow.string())))


def predictions(run: Run) -> Predictions | None:
    """Return what a run, loose or packed, took each validation example for at the end; None where it kept nothing."""
    if not run.packed:
        file = RunFolder(run.folder).predictions_file
        return read_predictions(file) if file.exists() else None
    table = packed_predictions(run.folder.parent, [run.result.run_id]).to_pydict()
    if not table["step"]:
        return None
    return Predictions(table["step"][0], *(np.array(table[name]) for name in ("example", "target", "predicted")))


def packed_predictions(experiment: Path, run_ids: Sequence[str]) -> pyarrow.Table:
    """Return what these runs of a packed study kept of their last validation, a row an example; UserError as above."""
    import pyarrow.compute

    if not (experiment / PREDICTIONS).exists():
        return _prediction_schema().empty_table()
    kept = _read(experiment / PREDICTIONS, None).cast(_prediction_schema())
    return kept.filter(pyarrow.compute.is_in(kept["run_id"], pyarrow.array(run_ids, pyarrow.string())))


def _prediction_table(run: Run) -> pyarrow.Table:
    import pyarrow

    kept = read_predictions(RunFolder(run.folder).predictions_file)
    count = len(kept.example)
    same = {"run_id": [run.result.run_id] * count, "step": [kept.step] * count}
    return pyarrow.table({**same, **{name: getattr(kept, name) for name in kept._fields[1:]}}, _prediction_schema())


def _prediction_schema() -> pyarrow.Schema:
    import pyarrow

    whole = [(name, pyarrow.int64()) for name in Predictions._fields]
    return pyarrow.schema([("run_id", pyarrow.string()), *whole])


def _of_today(steps: pyarrow.Table) -> pyarrow.Table:
    """Return a packed table with the columns of today; those that it was packed without are empty."""
    import pyarrow

    schema = _step_schema()
    for field in schema:
        if field.name not in steps.column_names:
            steps = steps.append_column(field, pyarrow.nulls(len(steps), field.type))
    return steps.select(schema.names).cast(schema)


def _step_table(run_id: str, steps: Sequence[StepRecord]) -> pyarrow.Table:
    import pyarrow

    columns: dict[str, Any] = {"run_id": [run_id] * len(steps)}
    columns |= {name: [getattr(step, name) for step in steps] for name in StepRecord.model_fields}
    return pyarrow.table(columns, schema=_step_schema())


def _step_schema() -> pyarrow.Schema:
    import pyarrow

    real = pyarrow.float64()
    kinds = {"run_id": pyarrow.string(), "batch": pyarrow.string(), "step": pyarrow.int64(), "epoch": pyarrow.int64()}
    kinds |= {"worker_seconds": pyarrow.list_(real), "ready_seconds": pyarrow.list_(real)}
    return pyarrow.schema([(name, kinds.get(name, real)) for name in ("run_id", *StepRecord.model_fields)])


def _run_table(runs: Sequence[Run]) -> pyarrow.Table:
    import pyarrow

    rows = [run.row for run in runs]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    columns["config_json"] = pyarrow.array([json.dumps(encode_stored(run.config)) for run in runs], pyarrow.string())
    columns["result_json"] = pyarrow.array([run.result.to_json() for run in runs], pyarrow.string())
    return pyarrow.table(columns)


def _column(values: list[Any]) -> pyarrow.Array:
    """Return a column of the type that fits, or of text where the runs disagree about the type."""
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        return pyarrow.array([None if value is None else json.dumps(value) for value in values])


def _common_first(provenances: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Separate what all runs state alike from what is each run's own."""
    first = next(iter(provenances.values()))
    common = {k: v for k, v in first.items() if all(p.get(k, ...) == v for p in provenances.values())}
    own = {name: {k: v for k, v in p.items() if k not in common} for name, p in provenances.items()}
    return {"schema": PACK_SCHEMA, "common": common, "runs": own}


def _parquet(table: pyarrow.Table) -> bytes:
    import pyarrow
    import pyarrow.parquet

    marked = table.replace_schema_metadata({"schema": str(PACK_SCHEMA)})
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(marked, sink, compression="zstd")
    return bytes(sink.getvalue())


def _read(file: Path, columns: list[str] | None) -> pyarrow.Table:
    import pyarrow
    import pyarrow.parquet

    try:
        # Not read_table: it imports pandas, and tables in the terminal would wait for that.
        with pyarrow.parquet.ParquetFile(file) as parquet:
            table = parquet.read(columns=columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{file} cannot be read ({error}); restore it, or pack its runs again") from None
    version = (table.schema.metadata or {}).get(b"schema", b"?").decode()
    if version != str(PACK_SCHEMA):
        raise UserError(f"{file} is packed in version {version}, and this version reads {PACK_SCHEMA}")
    return table
