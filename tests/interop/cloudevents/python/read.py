"""Reads Headgate's events with the CloudEvents SDK for Python. Argument: the file that cloudevents_test.cc writes."""

import base64
import json
import sys
from datetime import datetime

from cloudevents.http import from_http, from_json
from cloudevents.kafka import KafkaMessage, from_binary


def read(message):
    body = base64.b64decode(message["body"])
    if message["prefix"] == "ce_":
        headers = {name: value.encode() for name, value in message["headers"].items()}
        return from_binary(KafkaMessage(headers=headers, key=None, value=body), data_unmarshaller=lambda data: data)
    if message["prefix"] == "ce-":
        return from_http(message["headers"], body, data_unmarshaller=lambda data: data)
    return from_json(body, data_unmarshaller=lambda data: data)


def check(message):
    event = read(message)
    for name, value in message["attributes"].items():
        got = event[name]
        if name == "time":
            got, value = datetime.fromisoformat(got.replace("Z", "+00:00")), datetime.fromisoformat(value.replace("Z", "+00:00"))
        assert got == value, f"{name} is {got!r}, not {value!r}"
    data = base64.b64decode(message["data"])
    if message["attributes"]["datacontenttype"] == "application/json":
        got = event.data if isinstance(event.data, dict) else json.loads(event.data)
        assert got == json.loads(data), f"other data: {event.data!r}"
    else:
        assert bytes(event.data) == data, f"other data: {event.data!r}"


def main():
    count = failed = 0
    with open(sys.argv[1], encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            count += 1
            try:
                check(message)
            except Exception as error:  # pylint: disable=broad-except
                failed += 1
                print(f"{message['name']}: {type(error).__name__} {error}")
    print(f"read {count}, failed {failed}")
    sys.exit(1 if failed or not count else 0)


if __name__ == "__main__":
    main()
