"""One comparison from the stored vectors to the leaderboard: price, plan, train, judge.

Finished trainings are kept: the same command goes on, and with a larger budget it does what an
earlier one had to leave out.
"""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fusion.trial import METRICS, Score, Task, dims_of
from learning.loop import Recipe
from pipeline import cluster, files
from pipeline.compare.data import find, load
from pipeline.compare.entrants import entrants, task_of
from pipeline.compare.leaderboard import FUSION, Entrant, Leaderboard, Training, best_rate, settle
from pipeline.compare.schedule import Price, Schedule, within
from pipeline.compare.trainings import Trainings
from pipeline.compare.workers import Pool
from pipeline.config import RunConfig
from pipeline.errors import PolyfuseError
from pipeline.fit.data import Data
from pipeline.progress import Progress, Silent

_LOOKS = 15  # at the validation part, per training


@dataclass(frozen=True)
class Job:
    """One training that is to be done."""

    entrant: Entrant
    learning_rate: float
    seed: int

    @property
    def key(self) -> tuple[str, float, int]:
        """What it is known by."""
        return self.entrant.row, self.learning_rate, self.seed


def compare(
    config: RunConfig,
    name: str = "default",
    *,
    restart: bool = False,
    address: str | None = None,
    progress: Progress | None = None,
) -> tuple[Leaderboard, Path]:
    """Compare the fusions that `compare` names; returns the leaderboard and its folder.

    Raises:
        ConfigError: no label.
        Refused: RUN/compare/<name> holds another comparison.
        PolyfuseError: no vectors or no records to compare on.
    """
    data = find(config)
    kept = Trainings(files.at(config.output) / "compare" / name)
    if restart:
        kept.forget()
    kept.claim(_settings(config, data))
    with cluster.connected(address, config.workers):
        return _Comparison(config, name, data, kept, progress or Silent()).run()


def _settings(config: RunConfig, data: Data) -> dict[str, object]:
    """What must stay the same for trainings to be comparable; the wish and the operators may change."""
    free = {"budget", "models", "memory", *_WISH}
    recipe = config.compare.model_dump(mode="json", exclude=free)
    return {"data": data.digest, "task": data.labels and data.labels.task, "recipe": recipe}


_WISH = ("steps", "seeds", "learning_rates")


class _Comparison:
    """A comparison while Ray is up."""

    def __init__(
        self, config: RunConfig, name: str, data: Data, kept: Trainings, progress: Progress
    ) -> None:
        assert data.labels is not None, "find gives labels"
        self.asked, self.label, self.labels = config.compare, config.label, data.labels
        self.name = Path(config.output).name + ("" if name == "default" else f", {name}")
        self.kept, self.progress = kept, progress
        parts = load(data, self.asked.records)
        self.counts = {
            "train": len(parts.train),
            "valid": len(parts.valid),
            "test": len(parts.test),
        }
        self.task: Task = task_of(self.labels, self.asked)
        self.entrants, self.refused = entrants(self.asked, dims_of(parts.train), self.labels)
        for failure in self.refused:
            progress.say(f"{failure.row} is left out: {failure.failure}")
        out = {training.row for training in self.refused}
        self.running = [entrant for entrant in self.entrants if entrant.row not in out]
        workers = cluster.worker_count(config.workers, cluster.Resources())
        self.workers = min(workers, len(self.running))
        loading = partial(load, data, self.asked.records)
        self.pool = Pool(loading, self.task, self.workers)
        self.pool.wait()
        self.deadline = time.monotonic() + self.asked.budget
        self.prices: dict[str, Price] = {}
        self.left_out = 0  # trainings that there was no time for

    def run(self) -> tuple[Leaderboard, Path]:
        schedule = self._schedule()
        done = [t for t in self.kept.load() if t.steps == schedule.steps]
        middle = math.log(statistics.median(schedule.learning_rates))
        rates = sorted(schedule.learning_rates, key=lambda rate: abs(math.log(rate) - middle))
        grid = [Job(e, rate, 0) for rate in rates for e in self.running]
        done += self._train("learning rates", schedule, grid, done)
        best = {e.row: best_rate([t for t in done if t.row == e.row]) for e in self.running}
        seeds = range(1, schedule.seeds)
        more = [Job(e, rate, s) for s in seeds for e in self.running if (rate := best[e.row])]
        done += self._train("seeds", schedule, more, done)
        rows = settle(self.entrants, [*self.refused, *done])
        late = (f"no time for {_trainings(self.left_out)}",) if self.left_out else ()
        metric, cuts = METRICS[self.task.objective], (*schedule.cuts, *late)
        board = Leaderboard(self.name, metric, rows, self._about(schedule), cuts)
        board.write(self.kept.folder)
        return board, self.kept.folder

    def _schedule(self) -> Schedule:
        """That of an earlier command with the same wish and budget; else by measured times."""
        wish = Schedule(
            self.asked.steps, self.asked.seeds, tuple(sorted(self.asked.learning_rates))
        )
        terms = self.asked.model_dump(mode="json", include={"budget", *_WISH})
        if earlier := self.kept.schedule(terms):
            return earlier
        self.progress.stage("first steps", len(self.running), unit="trainings")
        recipe = self._recipe(wish.steps, Job(self.running[0], min(wish.learning_rates), 0))
        calls = self.pool.map(
            self.running, lambda actor, e: actor.price.remote(e.candidate, recipe)
        )
        for entrant, found in calls:
            if isinstance(found, tuple):
                self.prices[entrant.row] = Price(*found)
            self.progress.advance(1, int(not isinstance(found, tuple)))
        left = self.deadline - time.monotonic()
        schedule = within(left, self.prices, wish, self.workers)
        self.kept.keep_schedule(schedule, terms)
        for cut in schedule.cuts:
            self.progress.say(f"to fit the budget: {cut}")
        return schedule

    def _train(
        self, stage: str, schedule: Schedule, jobs: Sequence[Job], done: Sequence[Training]
    ) -> list[Training]:
        """Do the jobs that are not done, the longest first, and keep each as it finishes."""
        finished = {(t.row, t.learning_rate, t.seed) for t in done}
        left = [job for job in jobs if job.key not in finished]
        # Round by round, so that an early end leaves every entrant with as many; references first.
        rounds = {job.key: number // len(self.running) for number, job in enumerate(jobs)}
        left.sort(key=lambda j: (rounds[j.key], j.entrant.kind == FUSION, -self._price(j)))
        self.progress.stage(stage, len(jobs), len(jobs) - len(left), unit="trainings")
        calls = self.pool.map(
            left,
            lambda actor, job: actor.attempt.remote(
                job.entrant.candidate, self._recipe(schedule.steps, job)
            ),
            until=self.deadline,
        )
        new = []
        for job, found in calls:
            score = found if isinstance(found, Score) else None
            training = Training(*job.key, schedule.steps, score, "" if score else str(found))
            if not isinstance(found, PolyfuseError):  # a worker that died may live the next time
                self.kept.keep(training)
            new.append(training)
            self.progress.advance(1, int(score is None))
        if missed := len(left) - len(new):
            self.left_out += missed
            self.progress.say(f"no time for {_trainings(missed)}; the same command goes on")
        return new

    def _price(self, job: Job) -> float:
        price = self.prices.get(job.entrant.row)
        return price.step if price else 0.0

    def _recipe(self, steps: int, job: Job) -> Recipe:
        return Recipe(
            steps=steps,
            batch=min(self.asked.batch, self.counts["train"]),
            learning_rate=job.learning_rate,
            warmup=min(100, steps // 10),
            evaluate=max(steps // _LOOKS, 1),
            seed=job.seed,
        )

    def _about(self, schedule: Schedule) -> dict[str, str]:
        counts = ", ".join(f"{count:,} {part}" for part, count in self.counts.items())
        kinds = f" ({self.labels.outputs} classes)" if self.labels.classes else ""
        rates = ", ".join(f"{rate:g}" for rate in schedule.learning_rates)
        return {
            "label": f"{self.label.column if self.label else ''}{kinds}",
            "records": counts,
            "recipe": f"{schedule.steps:,} steps of {self.asked.batch}, learning rates {rates}",
        }


def _trainings(count: int) -> str:
    return f"{count} training" + ("" if count == 1 else "s")
