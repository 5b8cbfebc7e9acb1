"""Keeps a cache in Redis free of stale entries: removes from it what the permission changes in Kafka touch.

A tenant's cache is one hash, `cache:<tenant>`, with an entry for each entity ("document:roadmap"). Beside it the hash
`cache-state:<tenant>` holds the sequence of the last event that was applied, and a generation that rises with each of
them. Whoever fills the cache takes the generation first, then reads from the engine, then runs fill.lua, which refuses
what was read before the last invalidation.
"""

import argparse
import json
import signal
import sys

import redis
from confluent_kafka import Consumer, KafkaError

CHANGES = "dev.headgate.permission.changed.v1"
# They say nothing that a cache of the present could miss: it is filled from the engine, not from events.
HARMLESS = ("dev.headgate.feed.snapshot-page.v1", "dev.headgate.feed.snapshot-end.v1")
HEARTBEAT = "dev.headgate.feed.heartbeat.v1"


def event_of(record):
    """The CloudEvents attributes of a record in binary mode, and its data."""
    attributes = {name[3:]: value.decode() for name, value in record.headers() or [] if name.startswith("ce_")}
    return attributes, json.loads(record.value())


def entities_of(data):
    for change in data.get("data_changes", []):
        entity = (change.get("tuple") or change.get("attribute"))["entity"]
        yield f"{entity['type']}:{entity['id']}"


class Cache:
    def __init__(self, server):
        self.server = server
        self.sequences = {}  # of tenants that this process has seen

    def sequence(self, tenant):
        if tenant not in self.sequences:
            self.sequences[tenant] = int(self.server.hget(f"cache-state:{tenant}", "sequence") or 0)
        return self.sequences[tenant]

    def apply(self, attributes, data):
        """True when the event was new."""
        if attributes["type"] == HEARTBEAT:
            return False
        tenant, sequence = attributes["partitionkey"], int(attributes["sequence"])
        before = self.sequence(tenant)
        if sequence <= before:
            return False  # Kafka may bring the tail twice
        # One transaction: a crash between the two would leave a stale entry behind a sequence that says otherwise.
        with self.server.pipeline(transaction=True) as change:
            if before == 0 or sequence != before + 1:
                self.drop(change, tenant, f"nothing is known of what stands between {before} and {sequence}")
            elif attributes["type"] == CHANGES:
                entities = set(entities_of(data))
                if entities:
                    change.hdel(f"cache:{tenant}", *entities)
            elif attributes["type"] not in HARMLESS:
                # A gap, a snapshot, another schema, the beginning or the end of a tenant, or a kind that is newer than
                # this program: whatever it is, an empty cache is never wrong.
                self.drop(change, tenant, f"{attributes['type']} {attributes.get('reason', '')}")
            change.hset(f"cache-state:{tenant}", "sequence", sequence)
            change.hincrby(f"cache-state:{tenant}", "generation", 1)
            change.execute()
        self.sequences[tenant] = sequence
        return True

    @staticmethod
    def drop(change, tenant, why):
        print(f"{tenant}: everything is dropped: {why}", file=sys.stderr, flush=True)
        change.delete(f"cache:{tenant}")


def follow(consumer, cache, stopped):
    while not stopped:
        new = 0
        records = consumer.consume(500, timeout=0.2)
        for record in records:
            if record.error():
                # The topic appears with its first event.
                if record.error().code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    print(f"kafka: {record.error()}", file=sys.stderr, flush=True)
                continue
            new += cache.apply(*event_of(record))
        if records and any(not record.error() for record in records):
            # Behind the invalidations, so that a crash repeats them and never leaves one out.
            consumer.commit(asynchronous=False)
            print(f"{len(records)} records, {new} new", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", default="127.0.0.1:9092", help="brokers")
    parser.add_argument("--topic", default="headgate.permission-changes")
    parser.add_argument("--group", default="cache-invalidator")
    parser.add_argument("--redis", default="127.0.0.1:6379", help="host:port of the cache")
    words = parser.parse_args()

    host, port = words.redis.rsplit(":", 1)
    cache = Cache(redis.Redis(host=host, port=int(port), decode_responses=True))
    consumer = Consumer({
        "bootstrap.servers": words.kafka,
        "group.id": words.group,
        "enable.auto.commit": False,
        # How long the partitions of a member that was killed wait for another one.
        "session.timeout.ms": 10000,
        # Of a new group, and when the topic has dropped what we stood at: the sequences tell what is missing.
        "auto.offset.reset": "earliest",
        "topic.metadata.refresh.interval.ms": 2000,
    })
    consumer.subscribe([words.topic])
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(True))
    try:
        follow(consumer, cache, stopped)
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
