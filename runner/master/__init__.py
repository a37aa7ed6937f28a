"""Masters: chapters or recordings → finished books, levelled, tagged, with chapters; any audio → its levels."""
