"""Nearest-neighbour search beside hnswlib, usearch and LanceDB, at equal recall and equal threads.

    POLYFUSE_TEST_DATA=... python -m benchmarks.index_speed FOLDER     measure, write docs/results/index_speed
    python -m benchmarks.index_speed --tables                          the page again from the numbers

FOLDER keeps the peers' virtual environment, the vectors and the indexes from one call to the next.
`--sets` chooses among mnist and clustered, `--rows` how many clustered vectors there are.

`sets` makes the vectors and their true neighbours, `systems` says who is compared, `programs/ask.py`
runs one of them in a process of its own, `trial` takes turns between them, `page` writes it down.
"""
