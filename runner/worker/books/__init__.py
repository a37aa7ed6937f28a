"""Script and cast jobs: a book's document → the jobs that design, lock and speak it, one after the other."""
