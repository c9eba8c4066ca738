"""polyfuse as a person uses it: `search` gives records with their rank, score and metadata."""

import numpy as np
import of_polyfuse


class System(of_polyfuse.System):
    def search(self, queries: np.ndarray, k: int, effort: int) -> list[list[str]]:
        found = [self.searcher.search({of_polyfuse.NAME: query}, k=k) for query in queries]
        return [[hit.record_id for hit in hits] for hits in found]
