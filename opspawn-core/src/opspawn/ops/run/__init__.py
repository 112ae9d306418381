"""The life of a claimed task: the worker, its leases, the journal and what it tells of the past."""
