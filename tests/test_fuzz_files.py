"""Two thousand mutated files of a run, of sources and of a configuration; `make fuzz` tries more."""

from collections import Counter

from chaos import files, targets


def test_a_mutated_file_is_a_sentence_or_changes_nothing():
    found = files.Found()
    files.attack(2_000, seed=0, found=found)
    assert found.problems == []
    assert found.files == 2_000
    commands = Counter(command for command, _ in found.outcomes)
    assert set(commands) == {"run", "verify", *targets.READERS}
    kinds = {kind for _, kind in found.outcomes}
    sources = {f"source.{suffix}" for suffix in ("csv", "tsv", "jsonl", "parquet", "tar")}
    ours = {"config.yaml", "snapshot.json", "ledger/*.json", "plan/*.json", "plan/*.parquet",
            "records/*.parquet", "features/*.parquet", "fused/*.parquet", "models/*.json",
            "models/*.safetensors", "index/*.faiss", "index/*.parquet", "index/*.json",
            "snapshots/*.parquet", "lease/*.json"}  # fmt: skip
    assert sources | ours | {"polyfuse.yaml"} <= kinds
    total = sum(found.outcomes.values(), start=Counter())
    # Mutations that spare everything, or nothing, try little.
    assert min(total["same"], total["refused"], total["noticed"], total["ran"]) > 100
