"""What the report says, gathered part by part by the code of the commands that show it, changing nothing.

A part that cannot be had says why; the others are gathered all the same.
"""

from __future__ import annotations

from provisioner.page.gather.earlier import Earlier, read
from provisioner.page.gather.parts import Context
from provisioner.page.gather.whole import PARTS, Wishes, from_files, gather

__all__ = ["PARTS", "Context", "Earlier", "Wishes", "from_files", "gather", "read"]
