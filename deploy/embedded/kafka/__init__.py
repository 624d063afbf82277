"""Apache Kafka as a process of the embedded stack: one node in KRaft mode, broker and controller in one."""
