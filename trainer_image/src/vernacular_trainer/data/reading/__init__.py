"""Files to records: every container (JSON Lines, JSON, CSV, Excel, Parquet, gzip and zstd of them), one module each."""
