"""The same kills and the same broken media for polyfuse and for what people use instead.

    python -m benchmarks.reliability FOLDER [--kills 10]

Every system describes the same pictures (`hog-colour`, by polyfuse's own code) and writes vectors to
Parquet with two workers. A peer's program is in programs/, as its documentation would have it. In a trial
one worker is killed, then the program itself, and its user runs it again until it says that it is
done. The moments are counted in pictures that were opened, which the kernel tells: they lie in the
work of each system, however long it takes to start. FOLDER keeps datatrove's virtual environment.
"""
