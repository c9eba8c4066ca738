"""Threads, processes and batches: what is chosen without asking, beside the best that a hand finds."""
