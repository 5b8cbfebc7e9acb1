"""Listens to Redis Pub/Sub and always knows whether it has heard everything.

A signal reaches whoever listens at that moment. So this client counts: the sequence of a tenant's events is dense, and
what is missing in it was missed. It writes what it knows to a file after every event, one object for each tenant:

  sequence, token   of the last event
  changed           entity -> token of the transaction that changed it last; good as long as `known_since` says
  known_since       the sequence from which on nothing was missed; before it everything must be read from the engine
  why               what made it forget everything that was before
  in_doubt          the connection was lost and no event has come since: a last one may be missing
"""

import argparse
import json
import os
import signal
import sys
import time

import redis

CHANGES = "dev.headgate.permission.changed.v1"
HEARTBEAT = "dev.headgate.feed.heartbeat.v1"
SNAPSHOT_REST = ("dev.headgate.feed.snapshot-page.v1", "dev.headgate.feed.snapshot-end.v1")


def entities_of(event):
    for change in event.get("data", {}).get("data_changes", []):
        entity = (change.get("tuple") or change.get("attribute"))["entity"]
        yield f"{entity['type']}:{entity['id']}"


class Knowledge:
    def __init__(self, path):
        self.path = path
        self.tenants = {}

    def forget(self, tenant, since, why):
        print(f"{tenant}: everything before sequence {since} must be read again: {why}", flush=True)
        self.tenants[tenant] = {"changed": {}, "known_since": since, "why": why}

    def apply(self, event):
        if event["type"] == HEARTBEAT:
            if event.get("sequence"):
                self.heartbeat(event["partitionkey"], int(event["sequence"]), event.get("previoustoken"))
            return
        tenant, kind, sequence = event["partitionkey"], event["type"], int(event["sequence"])
        known = self.tenants.get(tenant)
        if known and sequence <= known["sequence"]:
            return  # the tail may come twice when the relay was killed
        if not known:
            self.forget(tenant, sequence, "joined" if "previoustoken" in event else "first event")
        elif sequence != known["sequence"] + 1:
            self.forget(tenant, sequence, f"missed {known['sequence'] + 1} to {sequence - 1}")
        elif kind != CHANGES and kind not in SNAPSHOT_REST:
            self.forget(tenant, sequence, f"{kind} {event.get('reason', '')}".strip())
        known = self.tenants[tenant]
        if kind == CHANGES:
            known["changed"].update((entity, event["snaptoken"]) for entity in entities_of(event))
        known.update(sequence=sequence, token=event["snaptoken"], in_doubt=False)

    def heartbeat(self, tenant, sequence, token):
        """Of one tenant: it repeats the number of the tenant's last event."""
        known = self.tenants.get(tenant)
        if not known or sequence > known["sequence"]:
            self.forget(tenant, sequence + 1, f"missed up to {sequence}" if known else "joined")
            self.tenants[tenant].update(sequence=sequence, token=token, in_doubt=False)
        elif sequence == known["sequence"]:
            known["in_doubt"] = False

    def connected(self):
        """Whatever was sent before this moment may have been missed; the next event of each tenant tells."""
        for known in self.tenants.values():
            known["in_doubt"] = True

    def save(self):
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.tenants, file, indent=1, sort_keys=True)
        os.replace(self.path + ".new", self.path)


def listen(subscription, knowledge, silence, stopped):
    last = time.monotonic()
    while not stopped:
        try:
            message = subscription.get_message(timeout=0.2)
        except redis.ConnectionError as error:
            # The library connects and subscribes again by itself, and says so with a confirmation like the first one.
            print(f"redis: {error}", file=sys.stderr, flush=True)
            time.sleep(0.2)
            continue
        if message is not None:
            last = time.monotonic()
            if message["type"] == "psubscribe":
                knowledge.connected()
                print("listening", flush=True)
            elif message["type"] == "pmessage":
                knowledge.apply(json.loads(message["data"]))
            knowledge.save()
        elif silence and time.monotonic() - last > silence:
            # Only worth something when the sink sends heartbeats: without them silence may be nothing but quiet.
            print(f"nothing heard for {silence} s, not even a heartbeat", flush=True)
            last = time.monotonic()
            knowledge.connected()
            knowledge.save()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", default="127.0.0.1:6379", help="host:port")
    parser.add_argument("--channels", default="headgate:*", help="pattern")
    parser.add_argument("--file", default="knowledge.json")
    parser.add_argument("--silence", type=float, default=0, help="seconds without anything that are alarming")
    words = parser.parse_args()

    host, port = words.redis.rsplit(":", 1)
    # No answer of redis-py is cached here, and nobody listens for its own notices: the older protocol is enough.
    server = redis.Redis(host=host, port=int(port), protocol=2, decode_responses=True, health_check_interval=5)
    subscription = server.pubsub()
    subscription.psubscribe(words.channels)
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(True))
    listen(subscription, Knowledge(words.file), words.silence, stopped)


if __name__ == "__main__":
    main()
