"""What every process needs: logs, metrics, free disks, retries, signals. Of `config` it imports `visible` alone."""
