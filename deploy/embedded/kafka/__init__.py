"""Apache Kafka as a process of the embedded stack: one node in KRaft mode, broker and controller in one.

May import `config`, and of the embedded stack `layout` and `ports`."""
