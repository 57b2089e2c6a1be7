"""A DAG of Airflow 3: a batch every night, on a worker where segment-tiles is installed."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    dag_id="segment_tiles_batch",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["segment-tiles"],
) as dag:
    # a retry does what failed; finished scenes are skipped
    BashOperator(
        task_id="segment",
        bash_command="segment-tiles batch /data/jobs.yaml",
        retries=2,
        retry_delay=timedelta(minutes=10),
    )
