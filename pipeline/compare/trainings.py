"""RUN/compare/<name>/: the finished trainings, one file each, so that none is ever repeated."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.compare.leaderboard import Training
from pipeline.compare.schedule import Schedule
from pipeline.errors import Refused

_DAMAGED = "begin the comparison anew with --restart"


@dataclass(frozen=True)
class Trainings:
    """What is kept of a comparison: settings.json, schedule.json, trainings/*.json."""

    folder: Path

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Go on with a comparison of these settings, or begin it.

        Raises:
            Refused: the folder holds another one.
        """
        path, data = self.folder / "settings.json", files.to_json(dict(settings))
        if not path.exists():
            files.publish(path, data)
            return
        found = files.read_json(path, _DAMAGED)
        if found != settings:
            changed = sorted(k for k in settings if found.get(k) != settings[k])
            raise Refused(
                f"{self.folder} holds a comparison with other {', '.join(changed)}: give this one "
                "another --name, or --restart to forget that one"
            )

    def forget(self) -> None:
        """Remove everything."""
        files.remove_tree(self.folder)

    def schedule(self, terms: Mapping[str, Any]) -> Schedule | None:
        """What an earlier command with the same terms worked by."""
        path = self.folder / "schedule.json"
        data = files.read_json(path, _DAMAGED) if path.exists() else {}
        if data.get("terms") != terms:
            return None
        return files.typed(Schedule, data.get("schedule"), path, _DAMAGED)

    def keep_schedule(self, schedule: Schedule, terms: Mapping[str, Any]) -> None:
        """Work by this one as long as the terms (the wish, the budget) stay."""
        data = {"schedule": dataclasses.asdict(schedule), "terms": dict(terms)}
        files.publish(self.folder / "schedule.json", files.to_json(data))

    def load(self) -> list[Training]:
        """All finished trainings."""
        folder = self.folder / "trainings"
        kept = [name for name in files.names(folder) if name.endswith(".json")]
        return [files.read_as(Training, folder / name, _DAMAGED) for name in kept]

    def keep(self, training: Training) -> None:
        """Record a finished one."""
        data = dataclasses.asdict(training)
        key = [training.row, training.learning_rate, training.seed, training.steps]
        path = self.folder / "trainings" / f"{files.short_digest(key)}.json"
        files.publish(path, files.to_json(data))
