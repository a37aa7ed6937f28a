"""The title page of a screenplay, key by key → title, author and language."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class TitlePage:
    """Values by key, in lower case; none of them is spoken."""

    values: dict[str, list[str]] = field(default_factory=dict)

    def add(self, key: str, value: str) -> None:
        """One more line of a value."""
        if value:
            self.values.setdefault(key, []).append(value)

    @property
    def title(self) -> str:
        """Title in one line."""
        return " ".join(self.values.get("title", ()))

    @property
    def author(self) -> str:
        """Authors, with commas between them."""
        return ", ".join(self.values.get("author", self.values.get("authors", ())))

    @property
    def language(self) -> str:
        """Language, where the page names one."""
        return " ".join(self.values.get("language", ()))
