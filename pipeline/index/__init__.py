"""FAISS indexes: which a run wants (jobs), building (build), opening them safely (opening).

Building in order: ladder chooses the type under a memory cap, vectors streams the parts in, rows binds
ids to records, engine speaks to FAISS, recall measures, manifest says what was made.
"""
