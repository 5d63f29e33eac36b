"""How the modules are dealt to pytest-xdist's processes: each whole, to one; what shares a product together."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

TOGETHER = ("tests/e2e/", "tests/story/")  # folders whose modules share one running product


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """The folders of TOGETHER are dealt first, as they take longest; then modules by their number of tests."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::", 1)[0]
        return next((folder for folder in TOGETHER if module.startswith(folder)), module)

    def _assign_work_unit(self, node: object) -> None:
        for folder in TOGETHER:
            if folder in self.workqueue:
                self.workqueue.move_to_end(folder, last=False)
        super()._assign_work_unit(node)
