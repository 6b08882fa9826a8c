"""Files of every format, wherever they are, compressed, growing or damaged."""
