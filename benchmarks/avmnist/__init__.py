"""AV-MNIST-Open: handwritten and spoken digits in pairs, and what every fusion makes of them.

    POLYFUSE_TEST_DATA=... python -m benchmarks.avmnist        measure, write docs/results/avmnist
    python -m benchmarks.avmnist --tables                      the page and picture from the numbers

`dataset` generates the pairs, `sounds` learns the sound features, `folds` puts both together,
`recipe` trains and scores one operator, `measure` all of them, `retrieval` searches across the two
modalities, `page` and `picture` write down what came out.
"""
