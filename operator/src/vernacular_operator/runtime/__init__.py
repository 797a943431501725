"""The level-triggered machinery: cache, queue, workers, executor, resync."""
