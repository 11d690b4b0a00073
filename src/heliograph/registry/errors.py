"""What can go wrong with the registry.

```
RegistryError                   the request cannot be carried out: all that is wrong with it
└── RegistryUnavailableError    the database does not answer, or what is known of it is too old
```
"""

from __future__ import annotations


class RegistryError(Exception):
    """A request to the registry cannot be carried out; `problems` says all that is wrong, with remedies."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RegistryUnavailableError(RegistryError):
    """The registry cannot be asked now, so nothing is known about anybody's consent."""
