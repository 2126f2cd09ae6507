"""The folder that a user takes home: the file, what is known about it, and code that runs it."""
