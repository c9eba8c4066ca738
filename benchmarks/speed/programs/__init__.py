"""The systems as their users start them: `python -m benchmarks.speed.programs.NAME SETTING.json`.

Each reads a table and writes Parquet with `id` and `vector`. SETTING: table (CSV), kind, models
{modality: path}, output (a folder), options (of the system).
"""
