"""The data collector: turns a venue's bars into stored history and announced batches."""
