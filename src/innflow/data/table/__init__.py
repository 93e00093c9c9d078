"""Columns of CSV, NPZ and Parquet files as data."""
