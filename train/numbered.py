"""What every endless row of batches has in common: its seed and the number of a batch decide it."""

from typing import Any


class Numbered:
    """Batches that can go on from any number. `count`: of the next one."""

    count = 0

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {"count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.count = state["count"]
