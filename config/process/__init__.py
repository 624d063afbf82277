"""What every process needs to run: logs, metrics, free disks, retries, signals. Of `config` it imports `visible` alone."""
