"""What every process needs to run: logs, metrics, free disks, retries. Of `config` it imports `visible` alone."""
