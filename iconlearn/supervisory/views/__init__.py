"""p made from the rows alone: views of them, tasks with generated labels, their own features to be restored."""

from ._pretext import Pretext
from ._restoration import Restore
from ._views import Views

__all__ = ["Pretext", "Restore", "Views"]
