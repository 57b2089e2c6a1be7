"""Where Regions are done: in this process, or on the workers of a Dask cluster."""

from segment_tiles.workflows.executors.choice import executor_for
from segment_tiles.workflows.executors.in_process import InProcess
from segment_tiles.workflows.executors.protocol import Capacity, Executor, RunPaths

__all__ = ["Capacity", "Executor", "InProcess", "RunPaths", "executor_for"]
