#!/usr/bin/env python3
"""Writes the seeds of the corpora out of tests/cases. Seeds are named seed-*; everything else in a corpus came out of
fuzzing and stays. Run it again when the recorded cases have grown."""

import base64
import json
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
CASES = HERE.parent / "cases"
SEEDS_MAX = 40


def steps(area):
    for line in (CASES / "observed" / f"{area}.jsonl").read_text().splitlines():
        for step in json.loads(line)["steps"]:
            if "call" in step:
                yield step


def filled(text):
    """Puts plain values where the recorded cases have variables."""
    text = re.sub(r"\$\{b64:([^}]*)\}", lambda m: base64.b64encode(m[1].encode()).decode(), text)
    text = re.sub(r"\$\{rep:(.):(\d+)\}", lambda m: m[1] * min(int(m[2]), 130), text)
    return re.sub(r"\$\{[a-zA-Z0-9_]+\}", "t1", text)


def spread(items, count=SEEDS_MAX):
    """At most `count` of the items without repetition, from short to long."""
    unique = sorted(set(items), key=lambda item: (len(item), item))
    if len(unique) <= count:
        return unique
    return [unique[i * (len(unique) - 1) // (count - 1)] for i in range(count)]


def write(target, items):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("seed-*"):
        old.unlink()
    for i, item in enumerate(spread([x if isinstance(x, bytes) else x.encode() for x in items])):
        (folder / f"seed-{i:02}").write_bytes(item)


def schemas():
    return [filled(s["body"].get("schema", "")) for s in steps("schema") if s["call"] == "Schema.Write"]


def partials():
    out, schema = [], "entity user {}"
    for step in steps("schema"):
        body = step["body"]
        if step["call"] == "Schema.Write" and step["expect"]["code"] == "OK":
            schema = filled(body["schema"])
        if step["call"] != "Schema.PartialWrite":
            continue
        text = schema.rstrip("\n") + "\n"
        for entity, changes in body.get("partials", {}).items():
            for verb in ("write", "update", "delete"):
                text += "".join(f"%% {verb} {entity}\n{change}\n" for change in changes.get(verb, []))
        out.append(text)
    return out


def expressions():
    lines = (CASES / "cel" / "checked.jsonl").read_text().splitlines()
    bodies = [json.loads(line)["body"] for line in lines]
    literals = ["'a'", '"b\\n"', "b'\\xff'", "r'\\'", "'''it's'''", "'\\u00e9\\U0001F600'"]
    return spread(bodies, 30) + literals + ["  n > 1 // no\n}", "\n\tn > 1\n}", " s == 'x}' \n}"]


def evaluations():
    lines = (CASES / "cel" / "checked.jsonl").read_text().splitlines()
    bodies = [case["body"] for case in map(json.loads, lines) if "checked" in case]
    data = ['{"x": 5}', '{"x": {"y": [1, "a", null]}, "tag": "a"}', '{"x": "2024-02-29T23:59:59Z", "data": true}', "{}"]
    more = ["context.data.x.y.exists(v, v == 1)", "timestamp(context.data.x).getDayOfYear('+02:00') > 1",
            "{'a': 1, 2u: ns}['a'] in ns && {} == {}", "ss.map(x, x + x).filter(x, x.matches('(a|b)+'))[0] == s",
            "string(duration('1h') + duration('-2.5s')) == string(timestamp(0) - timestamp('1970-01-01T00:00:01Z'))",
            "ns.all(a, ns.all(b, ns.all(c, ns.all(d, ns.all(e, ns.all(f, ns.all(g, true)))))))",
            "[[1]].map(x, [x, x]).map(x, [x, x]) == [[[[1], [1]], [[1], [1]]]]", "context.data == {'x': 5.0} ? b : !b"]
    return [f"{data[i % 4]}\n%%\n{body}" for i, body in enumerate(spread(bodies, 28) + more)]


def tokens():
    def b64(text):
        return base64.b64encode(text.encode()).decode()
    legacy = [base64.b64encode(x.to_bytes(8, "little")).decode() for x in (0, 1, 757, 2**63, 2**64 - 1)]
    payloads = ["757:757:757:", "757:", "757:750:760:750,755,758", "9:1:1:", "5:3:9:3,4,5", "x:1:2", "1:bad", "garbage",
                "18446744073709551615:1:18446744073709551615:", "10:20:10:", "1:10:20:10,", "1:10:20:12,11", "1:1:1:1"]
    return legacy + [b64(p) for p in payloads] + payloads + ["%%", "", "noop", "10:20:10,10,15"]


def storage_texts():
    keys = ["1", "0", "007", "-1", "abc", "2147483647", "2147483648", "18446744073709551616", "t1", "a\"b\nc\\d\n\n,{}"]
    return keys + [base64.b64encode(k.encode()).decode() for k in keys] + tokens()[:12] + ["cr4bqg2g3s6g00f8b2d0", "%%"]


def text_forms():
    out = []
    for step in steps("bundle"):
        for bundle in step["body"].get("bundles", []):
            lines = [f"argument {a}=x1" for a in bundle.get("arguments", [])]
            for operation in bundle.get("operations", []):
                for field, word in (("relationships_write", "tuple"), ("relationships_delete", "remove tuple"),
                                    ("attributes_write", "attribute"), ("attributes_delete", "remove attribute")):
                    lines += [f"{word} {text}" for text in operation.get(field, [])]
                lines.append("next")
            out.append(filled("\n".join(lines[:-1]) + "\n"))
    values = ["boolean:true", "boolean[]:t,F,0", "string:a b", "string[]:a,,b", "integer:-5", "integer[]:1,+2",
              "double:1e300", "double:nan", "double[]:0.1,-inf", "integer:99999999999"]
    return out + [f"doc:1$x|{v}\n" for v in values] + ["doc:1#owner@user:a\n", " a:b@c:d#e \n", "{{.x}}{{ .y }}\n"]


def attribute_values():
    out = []
    for step in steps("data"):
        for attribute in step["body"].get("attributes", []):
            if "value" not in attribute:
                continue
            out.append(filled(json.dumps(attribute["value"])))
    url = "type.googleapis.com/base.v1."
    raw = [(url + "StringValue", b"\n\x03abc"), (url + "BooleanValue", b"\x08\x01"), (url + "IntegerValue", b"\x08\xff"),
           (url + "DoubleArrayValue", b"\n\x08\0\0\0\0\0\0\xf8\x7f"), (url + "IntegerArrayValue", b"\x08\x01\x08\x02"),
           (url + "StringValue", b"\n\x02\xff\xfe"), (url + "Nobody", b""), ("", b"")]
    return out + [name.encode() + b"\n" + value for name, value in raw]


def names():
    odd = ["a", "", "a.b", "a*>", "{}", " ", "é", "x_5Fy", "x/y", "t" * 128, "%z", "_x"]
    templates = {"kafka": ["headgate.changes.{tenant}", "{prefix}{entity_type}", "headgate"],
                 "nats": ["{prefix}.{tenant}.x", "a..{tenant}", "{tenant}"],
                 "redis": ["{prefix}:{{{tenant}}}:changes", "{tenant}"], "raw": ["{tenant}/{tenant}", "k"]}
    return ["\n".join([kind, template, "p", odd[i % 12], odd[(i * 5 + 1) % 12]])
            for kind, all_of in templates.items() for template in all_of for i in range(0, 12, 3)]


def events():
    lines = [path.read_text().strip() for path in sorted((CASES / "events").glob("*.json"))]
    changes = []
    for step in steps("watch"):
        for message in step.get("expect", {}).get("messages", []):
            changes.append(json.dumps(message.get("changes", message)))
    change = '{"data_changes":[{"operation":1,"tuple":{"entity":{"type":"doc","id":"1"},"relation":"r","subject":' \
             '{"type":"user","id":"a","relation":""}}}]}'
    fields = ["0", "t1", "7301", "2", "more", "hRwAAAAAAAA=", "7301-1", "1763737445000001", "", "42", "hBwAAAAAAAA="]
    lines.append("\n".join(fields + [change]))
    lines += ["\n".join(fields + [filled(c)]) for c in spread(changes, 12)]
    for kind, reason in (("1", ""), ("2", "HISTORY_GONE"), ("3", "a \"b\"\u00e9"), ("5", ""), ("6", ""), ("8", "")):
        lines.append("\n".join([kind] + fields[1:8] + [reason] + fields[9:] + [""]))
    return lines + ["\n".join(["0", "a/b c", "1", "0", "", "", "", "", "", "1", "", ""])]


def engine_settings():
    return ["database:\n  uri: postgres://u:p@h/d\n", "database: {uri: x, max_connections: 30}\nroles: [write, watch]\n",
            "HEADGATE_ENGINE_DATABASE_URI=postgres://h/d\nHEADGATE_ENGINE_FEED_POLL_IDLE=50ms\n%%\nserver: {port: 0}\n",
            "database: {uri: '${URI}'}\n", "URI=x\n%%\ndatabase: {uri: '${URI}'}\nlog: {level: debug, format: json}\n",
            "authn: {method: preshared, keys: [a, b]}\ndatabase: {uri: x}\nwatch: {opens_per_second: 0.5}\n",
            "feed:\n  ring_bytes: 16MiB\n  ring_age: 1h30m\ndatabase: {uri: x}\ngc: {enabled: yes, window: 2d}\n",
            "database: {uri: x}\nadmin: {address: \"a\\\"b\\n$${c}\"}\n", "unknown: 1\n", "server: 5\n", "--- 1\n--- 2\n",
            "database: {uri: x}\nserver: {port: 70000}\n", "a: &a [*a]\n", "{", "database: {uri: x, uri: y}\n"]


def relay_settings():
    upstream = "upstream: {address: 'engine:3478'}\n"
    kinds = ["kind: stdout", "kind: file\n  path: /tmp/x\n  rotate_bytes: 1MiB",
             "kind: kafka\n  brokers: 'k:9092'\n  topic: '{prefix}.{tenant}'\n  options: {a: b, sasl.password: x}",
             "kind: redis_streams\n  password: p\n  max_length: 5", "kind: redis_pubsub\n  port: 1",
             "kind: nats_jetstream\n  url: nats://u:p@h\n  retry: {initial: 1ms}",
             "kind: nats_core\n  format: confluent\n  schema_id: 3\n  batch: {linger: 5ms}"]
    out = [upstream + "sinks:\n- name: a\n  " + kind + "\n" for kind in kinds]
    return out + [upstream + "sinks: [{kind: stdout, name: a}, {kind: stdout, name: b}]\n", "sinks: {}\n", upstream,
                  "HEADGATE_RELAY_SINKS_0_KIND=stdout\nHEADGATE_RELAY_SINKS_0_NAME=n\n%%\n" + upstream]


def setting_values():
    return ["250ms", "1h30m", "1.5d", "0", "9000000000s", "1ns", "106751d", "16MiB", "10MB", "512", "1.5KiB", "8589934591GiB",
            "true", "off", "-5", "1e300", "0.1", "nan", "adress", "postgres://u:p@h/d", "password='a b' host=x",
            "a?token=1&b=2", "http://a@b@c/"]


def requests():
    message = {"Data.Write": "DataWriteRequest", "Data.Delete": "DataDeleteRequest",
               "Data.ReadRelationships": "RelationshipReadRequest", "Data.ReadAttributes": "AttributeReadRequest",
               "Data.WriteRelationships": "RelationshipWriteRequest", "Data.RunBundle": "BundleRunRequest",
               "Bundle.Write": "BundleWriteRequest", "Tenancy.Create": "TenantCreateRequest",
               "Permission.Check": "PermissionCheckRequest", "Schema.PartialWrite": "SchemaPartialWriteRequest"}
    out = {name: [] for name in message.values()}
    for area in ("data", "bundle", "tenancy", "schema"):
        for step in steps(area):
            if step["call"] in message:
                name = message[step["call"]]
                out[name].append(name + "\n" + filled(json.dumps(step["body"])))
    return [text for name, texts in out.items() for text in spread(texts, 14 if name == "DataWriteRequest" else 3)]


def admin_requests():
    out = [f"{method} {path} HTTP/1.1\r\n{headers}\r\n{body}"
           for method, path, headers, body in (
               ("GET", "/livez", "Host: x\r\n", ""), ("HEAD", "/livez", "", ""), ("GET", "/", "", ""),
               ("GET", "/tenants/a%2Fb?limit=5&x=%00%zz", "Authorization: Bearer t\r\nOrigin: http://x\r\n", ""),
               ("POST", "/tenants/t1/resume?sink=a", "Content-Length: 0\r\n", ""),
               ("POST", "/tenants/t1/resume", "Content-Length: 4\r\n", "body"),
               ("POST", "/tenants/t1/resume", "Content-Length: 99999999\r\n", "body"),
               ("POST", "/tenants/t1/resume", "Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n"),
               ("POST", "/tenants/t1/resume", "Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\nbody"),
               ("POST", "/tenants/t1/resume", "Content-Type: multipart/form-data; boundary=a\r\nContent-Length: 9\r\n", "--a\r\n\r\n--a"),
               ("POST", "/tenants/t1/resume", "Content-Encoding: gzip\r\nContent-Length: 4\r\n", "\x1f\x08\0\0"),
               ("DELETE", "/livez", "", ""), ("GET", "/none/%0d%0aX-Injected:1", "Range: bytes=0-3,5-\r\n", ""),
               ("GET", "/livez", "Range: bytes=0-3\r\nAccept-Encoding: gzip, br\r\n", ""), ("GET", "*", "", ""))]
    return out + ["GET /livez\r\n\r\n", "\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /livez HTTP/1.1\r\n" + "A: b\r\n" * 200 + "\r\n"]


def connections():
    flood = "\n".join(f"use {i * 20000} 100 0 {i % 4}" for i in range(20))
    return ["ipv4:10.0.0.1:4711\nenter a\nenter a\nenter b\nleave a\nwait 1000\nenter a\nslow a\nenter a\n",
            "ipv6:%5B2001:db8::1%5D:4711\n" + flood + "\nlook 100000 0\nwait 5001\nlook 300000 0\nwait 100\nlook 400000 500\n",
            "unix:/tmp/x\nuse 60000 0 0 1\nlook 100 0\nwait 29999\nlook 100 0\nwait 1\ncall\nlook 100 0\n", "ipv4:\n", "::\nleave a\n",
            "\n" + "enter a\n" * 9 + "enter b\n" * 9 + "wait 500\nenter c\nleave b\nleave b\n", "[%5B:%5D\nuse 1099511627775 0 999999 0\nlook 1 1\n"]


def filters():
    token, page = "hRwAAAAAAAA=", base64.b64encode(b"42").decode()
    tuples = ['{}', '{"entity":{"type":"doc","ids":["1","2"]},"relation":"viewer"}', '{"subject":{"type":"user","ids":["a"],"relation":"m"}}',
              '{"entity":{"ids":["a\'b","\\\\","{}","\\"","é"]},"subject":{"ids":["x;y","--"]}}', '{"relation":"r","subject":{"relation":"s"}}',
              json.dumps({"entity": {"type": "doc", "ids": [str(i) for i in range(150)]}, "subject": {"ids": [str(i) for i in range(150)]}})]
    attributes = ['{}', '{"entity":{"type":"doc","ids":["1"]},"attributes":["a","b"]}', '{"attributes":["x\'y"]}', '{"entity":{"ids":["1","2"]}}']
    return [f"{kind}\n{size}\n{page if size > 5 else ''}\n{token if size else tokens()[5]}\n{text}"
            for kind, texts in (("tuple", tuples), ("attribute", attributes)) for text in texts for size in (0, 50, 4294967295)]


write("schema", schemas())
write("partials", partials())
write("expression", expressions())
write("evaluation", evaluations())
write("snap_token", tokens())
write("storage_texts", storage_texts())
write("text_form", text_forms())
write("attribute_json", attribute_values())
write("names", names())
write("event", events())
write("engine_settings", engine_settings())
write("relay_settings", relay_settings())
write("setting_values", setting_values())
write("request", requests())
write("admin_http", admin_requests())
write("connections", connections())
write("filters", filters())
