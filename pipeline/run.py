"""A run from the configuration to the index: plan -> extract -> fit -> fuse -> index.

The same command continues where an earlier one stopped, after any end of it. Only this module
holds the lease, publishes snapshots and removes garbage; the workers do the rest.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from encoders.base import Identity
from pipeline import cluster, expression, few, files, garbage, models, todo
from pipeline.budget import Budget
from pipeline.config import Feature, RunConfig, parse
from pipeline.describe import describe, source_spec
from pipeline.errors import ConfigError, PolyfuseError
from pipeline.index import jobs as index_jobs
from pipeline.infer import with_dims
from pipeline.lease import Holder, Lease
from pipeline.ledger import Ledger
from pipeline.machines import Machines
from pipeline.memory import check_memory
from pipeline.place import by_resources, settle
from pipeline.plan import Plan, make_plan
from pipeline.progress import Progress, Silent
from pipeline.saved import SavedRun, Setting, load_saved, refuse_changes
from pipeline.sources import Source, open_source
from pipeline.status import Status, read_status
from pipeline.stopwatch import Times
from pipeline.store import publish_snapshot
from pipeline.units import Job, Unit
from pipeline.verdict import verdict

STAGES = ("extract", "fit", "fuse", "index")  # and "split", which "fit" does where it needs it


@dataclass(frozen=True)
class Options:
    """What a command may ask for beside the configuration."""

    stages: Sequence[str] = STAGES
    update: bool = False
    restart: bool = False
    retry: bool = False
    again: bool = False  # train models anew that are trained already
    address: str | None = None


@dataclass
class Summary:
    """What a command did."""

    run: Path
    status: Status
    computed: int = 0  # rows computed by this command
    trained: Sequence[str] = ()  # models trained by it
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    first: float | None = None  # seconds until the first rows were done: imports, Ray, weights
    verdict: Sequence[str] = ()  # what limited it, in sentences


def run(
    config: RunConfig, options: Options | None = None, progress: Progress | None = None
) -> Summary:
    """Do what is left of the wanted stages.

    Raises:
        ConfigError, Refused, BudgetExceeded, PolyfuseError: each one line for a person.
    """
    options, progress, times = options or Options(), progress or Silent(), Times()
    folder = files.at(config.output)
    source = open_source(source_spec(config), folder / "plan")
    if config.source.where:
        expression.parse(config.source.where, source.schema())  # a mistake in it shows at once
    config = with_dims(config, source)
    there = (folder / "config.yaml").exists() and not options.restart
    earlier = load_saved(folder) if there else None
    find = partial(describe, config, earlier.settings if earlier else {}, folder if there else None)
    with Machines(options.address, config, progress.say) as machines:
        begins = not earlier and "extract" in options.stages and not machines.remote
        # A run that begins here needs Ray unless it is small, and to find identities imports much: both
        # at once.
        at_once = begins and not few.has_few(source, config.shard_sizes)
        saved = machines.connect_beside(find) if at_once else find()
        check_memory(config, saved.identities)
        if earlier and not options.update:
            refuse_changes(earlier, saved)
        with Holder(folder) as lease:
            if options.restart:
                garbage.clear(folder)
            return _Command(saved, source, lease, machines, options, progress, times).run()


def retry(folder: Path, options: Options, progress: Progress | None = None) -> Summary:
    """Replay only the failed (record, modality) pairs of a run, then fuse and index what changed.

    Raises:
        As `run`; PolyfuseError: the folder holds no run, or its configuration is damaged.
    """
    stored = load_saved(folder).config.model_dump(exclude_none=True)
    try:
        # What it will build is checked as where a run begins; stored paths are absolute.
        config = parse(stored, Path("/"))
    except ConfigError as err:
        raise files.damaged(folder / "config.yaml", str(err), "restore it from a copy") from err
    return run(config, options, progress)


def restore(
    folder: Path, model: str, options: Options, progress: Progress | None = None
) -> Summary:
    """Fill in what is missing in a run with one of its trained models; nothing else is computed.

    Raises:
        Refused, PolyfuseError: another writer, or a model that can't restore, in one line.
    """
    from pipeline.restore import check  # torch

    saved, progress = load_saved(folder), progress or Silent()
    record = check(folder, saved, model)
    source = open_source(source_spec(saved.config), folder / "plan")
    with Holder(folder) as lease:
        machines = Machines(options.address, saved.config, progress.say)
        command = _Command(saved, source, lease, machines, options, progress, Times())
        return command.restore(model, record)


class _Command:
    """One command on one run, while it holds the lease."""

    def __init__(
        self,
        saved: SavedRun,
        source: Source,
        lease: Lease,
        machines: Machines,
        options: Options,
        progress: Progress,
        times: Times,
    ) -> None:
        self.folder = files.at(saved.config.output)
        self.saved = saved
        self.source = source
        self.lease = lease
        self.machines = machines
        self.options = options
        self.progress = progress
        self.times = times
        self.ledger = Ledger(self.folder)
        self.computed = 0
        self.trained: list[str] = []
        self._untrained: set[str] = set()  # models without training that are there for sure

    def run(self) -> Summary:
        with self.machines:  # its workers end before the lease does
            plan = self._plan()
            self._settle()
            if "extract" in self.options.stages:
                self._extract(plan)
            if "split" in self.options.stages:
                self._split(plan)
            if {"fit", "fuse"} & set(self.options.stages):
                self._learn(plan)
            self._publish(plan)
            if "index" in self.options.stages:
                self._index()
            self._clean(plan)
        return self._summary()

    def restore(self, model: str, record: models.Record) -> Summary:
        """Only this; the plan is as it is, whatever became of the source."""
        with self.machines:
            plan = Plan.open(self.folder / "plan")
            units = self._left(plan, todo.restore_units, model, record)
            list(self._do(f"restore {model}", units, cluster.Resources(), plan.totals.records))
            self._publish(plan)
            self._clean(plan)
        return self._summary()

    def _plan(self) -> Plan:
        with self.times.timed("plan"):
            planned = make_plan(
                self.source,
                self.folder / "plan",
                update=self.options.update,
                **self.saved.config.shard_sizes,
            )
            plan = Plan.open(self.folder / "plan")
        shards, rows = plan.totals
        new = "" if planned.unchanged else f", {planned.new_shards:,} of them new"
        self.progress.say(f"plan: {rows:,} records in {shards:,} shards{new}")
        return plan

    def _settle(self) -> None:
        """Fix device and precision of features that are new, then save the configuration."""
        there = (self.folder / "config.yaml").exists()
        earlier = load_saved(self.folder) if there else None
        self.saved = settle(self.saved, earlier, self._choose)
        self._save()

    def _save(self) -> None:
        path = self.folder / "config.yaml"
        text = self.saved.to_yaml().encode()
        if not path.exists() or files.read(path) != text:
            files.publish(path, text)

    def _choose(self, feature: Feature) -> tuple[Setting, dict[str, Any]]:
        from pipeline import probe  # torch: classical descriptors need none

        config, machines = self.saved.config, self.machines
        if not machines.only_these_cpus:
            self.machines.connect()
        source = source_spec(config)
        with self.times.timed("precision"):
            setting, record = probe.settle(
                feature, config, source, machines.device, remote=machines.remote
            )
        self.progress.say(f"{feature.name}: computed in {setting}")
        return setting, record

    def _extract(self, plan: Plan) -> None:
        choose = todo.retry_units if self.options.retry else todo.extract_units
        rate = 1.0 if self.options.retry else self.saved.config.max_error_rate
        budget = Budget(rate, self.ledger)
        left: dict[str, list[Unit]] = {modality: [] for modality in self.saved.config.modalities}
        for standing in todo.walk(plan, self.ledger):
            for modality, units in left.items():
                units += choose(standing, self.saved, modality)
            if not self.options.retry:
                budget.add_done(standing.markers.values())
        fuse = self._fused_on_the_way()
        for resources, modalities in by_resources(self.saved).items():
            units = [unit for modality in modalities for unit in todo.well_ordered(left[modality])]
            total = len(modalities) * plan.totals.records
            # Closed here: an exception would keep a stream that nobody reads alive, and Ray at work for it.
            with contextlib.closing(self._do("extract", units, resources, total, fuse)) as reports:
                for report in reports:
                    budget.add(report["unit"], report["shard"], report["tried"], report["failed"])
        underived = self._left(plan, todo.records_units)
        list(self._do("records", underived, cluster.Resources(), plan.totals.records))
        budget.check()

    def _fused_on_the_way(self) -> list[str]:
        """Models of features alone that need no training: a pool of workers for them would cost more
        to start than they cost."""
        config = self.saved.config
        features = {feature.name for feature in config.features()}
        return [
            model
            for model in config.models
            if "fuse" in self.options.stages
            and features.issuperset(models.inputs(config, model))
            and self._save_untrained(model)
        ]

    def _learn(self, plan: Plan) -> None:
        """Fit and fuse model by model: a later one may take the vectors of an earlier one."""
        config, stages = self.saved.config, self.options.stages
        if any(todo.extract_left(todo.walk(plan, self.ledger), self.saved)):
            raise PolyfuseError(
                "not all vectors are there yet: extract them first (`polyfuse run` does everything)"
            )
        trained = models.trained_models(config) if "fit" in stages else []
        if trained:
            self._split(plan)
        needed = {name for model in trained for name in models.wanted(config, model).inputs}
        for model in [*config.models, *([models.HEAD] if models.HEAD in trained else [])]:
            if model in trained:
                self._fit(plan, model)
            if model != models.HEAD and ("fuse" in stages or model in needed):
                self._fuse(plan, model)

    def _split(self, plan: Plan) -> None:
        label = self.saved.config.label
        if label and label.file and not Path(label.file).is_file():
            raise ConfigError(f"label.file: there is no file {label.file}")
        digest = files.sha256_of(Path(label.file)) if label and label.file else None
        units = self._left(plan, todo.split_units, digest)
        list(self._do("split", units, cluster.Resources(), plan.totals.records))

    def _fit(self, plan: Plan, model: str) -> None:
        from pipeline.fit.stage import Fitting  # torch

        fitting = Fitting(
            self.folder, self.saved, self.lease, self.progress, self._place, self.options.again
        )
        with self.times.timed(f"fit {model}"):
            record, trained = fitting.fit(model, todo.walk(plan, self.ledger))
        self.trained += [model] if trained else []
        self._identify(model, record.identity)

    def _summary(self) -> Summary:
        status, seconds = read_status(self.folder, self.ledger), dict(self.times.seconds)
        if self.machines.connected:
            seconds = {"ray": self.machines.seconds, **seconds}
        limits = verdict(self.saved, status, seconds) if "extract" in seconds else []
        computed, first = self.computed, self.times.first
        return Summary(self.folder, status, computed, self.trained, seconds, first, limits)

    def _place(self) -> tuple[cluster.Resources, str]:
        self.machines.connect()
        device = self.machines.device
        resources = cluster.resources_on(device)
        self.machines.check_placeable(resources)
        return resources, device

    def _identify(self, model: str, identity: Identity) -> None:
        """A model that is trained has an identity, and so have those that only waited for it."""
        if model == models.HEAD or self.saved.identities.get(model) == identity:
            return
        self.saved = describe(self.saved.config, self.saved.settings, self.folder)
        self._save()

    def _fuse(self, plan: Plan, model: str) -> None:
        if model not in self.saved.identities:
            raise PolyfuseError(
                f"{model} is not trained as the configuration asks: `polyfuse fit CONFIG` trains "
                "it (`polyfuse run` does everything)"
            )
        self._save_untrained(model)
        units = self._left(plan, todo.fuse_units, model)
        list(self._do(f"fuse {model}", units, cluster.Resources(), plan.totals.records))

    def _save_untrained(self, model: str) -> bool:
        """Whether the model needs no training; then it is there from now on."""
        untrained = models.wanted(self.saved.config, model).objective is None
        if untrained and model not in self._untrained:
            from pipeline.fuse import save_model  # torch

            save_model(self.folder, self.saved.config, model, self.saved.identities)
            self._untrained.add(model)
        return untrained

    def _left(
        self, plan: Plan, choose: Callable[..., Iterable[Unit]], *arguments: Any
    ) -> list[Unit]:
        """What one of the choices of `todo` finds to do, over all shards."""
        shards = todo.walk(plan, self.ledger)
        return [unit for shard in shards for unit in choose(shard, self.saved, *arguments)]

    def _do(
        self,
        stage: str,
        units: Sequence[Unit],
        resources: cluster.Resources,
        total: int,
        fuse: Sequence[str] = (),
    ) -> Generator[dict[str, Any], None, None]:
        """Do units, telling the progress; nothing starts when there are none."""
        if not units:
            return
        job = Job(self.folder, self.saved, source_spec(self.saved.config), self.lease, fuse)
        reports = self.machines.stream(job, units, resources)
        self.progress.stage(stage, total, total - sum(unit.shard.rows for unit in units))
        with self.times.timed(stage):
            for report in reports:
                self.progress.advance(report["rows"], report["failed"])
                self.computed += report["rows"]
                self.times.done()
                for name, revision in report["markers"]:
                    self.ledger.saw(report["shard"], name, revision)
                yield report

    def _publish(self, plan: Plan) -> None:
        """The next snapshot: a reader sees all of what is done, and nothing else."""
        self.lease.check()
        if (self.folder / "restored").exists():
            shards = todo.walk(plan, self.ledger)
            for shard, unit in list(todo.outdated(shards, self.saved, self.folder)):
                self.ledger.forget(shard, unit)
        totals = Counter({"records": plan.totals.records})
        parts = todo.finished(plan, self.ledger, self.saved.config, totals)
        publish_snapshot(self.folder, parts, totals)

    def _clean(self, plan: Plan) -> None:
        """Last, so that a reader of the earlier snapshot or index finds all of it until then."""
        self.lease.check()
        garbage.collect(self.folder, self.ledger, plan, self.saved.config)

    def _index(self) -> None:
        status = read_status(self.folder, self.ledger)
        if status.pending:
            raise PolyfuseError(
                f"{status.pending:,} of {status.records:,} records have no vectors yet: "
                "extract them first (`polyfuse run` does everything)"
            )
        index_jobs.drop_unwanted(self.folder, self.saved)
        jobs = index_jobs.stale(self.folder, self.saved)
        if not jobs:
            return
        build = index_jobs.build_here
        if self.machines.needed_for(status.records * len(jobs)):
            self.machines.connect()
            build = index_jobs.build
        with self.times.timed("index"):
            build(self.folder, jobs, self.saved.config.index.memory, self.progress)
