"""One module a question: a title, what it asks, its contenders, and what is expected of arrowstream."""
