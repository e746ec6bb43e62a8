"""Units of work done durably on Dask; it depends on stores and errors only, without any knowledge of soil moisture."""
