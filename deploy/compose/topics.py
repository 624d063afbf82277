"""Make the pipeline's topics on a broker that is not in the stack. `python -m deploy.compose.topics`.

By the Kafka API alone, as a user who may create topics; topics that are there stay as they are.
"""

from __future__ import annotations

import sys

from confluent_kafka import KafkaException
from pydantic import ValidationError

from config.settings import Settings
from deploy.embedded.kafka.topics import create, wanted
from deploy.embedded.layout import StackError

BROKERS_OWN_REPLICAS = -1


def main() -> int:
    """Exit code 1, with what to do next, where a topic is missing in the end."""
    try:
        settings = Settings()
        create(settings, BROKERS_OWN_REPLICAS)
    except (StackError, KafkaException, ValidationError) as error:
        sys.stderr.write(
            f"The topics are not there: {error}\nDoes the broker answer at MEDALLION_KAFKA_BOOTSTRAP_SERVERS, and may"
            " the user create topics? Or have them made by its owner (deploy/compose/README.md).\n"
        )
        return 1
    sys.stdout.write(f"{len(wanted(settings))} topics: ready\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
