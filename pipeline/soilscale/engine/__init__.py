"""Units of work done durably on Dask; knows stores and errors only, and no soil moisture."""
