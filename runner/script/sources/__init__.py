"""Sources: the bytes of a book, a screenplay or captions → one `Document`."""
