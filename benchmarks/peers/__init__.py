"""The public classes beside ours, on the same tensors: accuracy, time, memory, state.

    python -m benchmarks.peers FOLDER        measure, write docs/results/fusion_peers
    python -m benchmarks.peers --tables      the page again from the numbers

FOLDER holds checkouts that are no part of this repository: block.bootstrap.pytorch (Cadene), MultiBench
(pliang279), mmf and multimodal (facebookresearch), MoPoE (thomassutter), cca_zoo (jameschapman19). What
is not there is left out.

`checkouts` loads their classes, `cases` pairs them with ours at the sizes of encoders, `measure` times
both, `rivals` pairs them for AV-MNIST-Open, `accuracy` trains and times those, `page` writes it down.
"""
