"""What `ops/dev test` builds and runs: one stage for each preset, each with the tests that show something there.

debug tests everything. release tests the programs that are shipped, at -O2 and without switches in them. clang compiles
everything with the lock analysis as errors. The sanitizers run what is concurrent or parses bytes; the rest of them,
and all that is long, is the nightly job's (.github/workflows).
"""

import collections
import re

# targets: what is built; empty: everything. tests: names for ctest; empty: every test; None: none.
# quickstart: with the programs of this stage. minutes: on two cores, from a clean tree and without a compiler cache.
Stage = collections.namedtuple("Stage", "preset targets tests quickstart minutes")

PROGRAMS = ("headgate-engine", "headgate-relay", "headgate-demo")
# Of its own, since several tests are one program.
SHIPPED_TARGETS = ("headgate_integration_tests",)
# The whole path through the programs that ship: base.v1 as recorded, Watch, every sink, kills, tokens.
SHIPPED = ("headgate_engine_test", "headgate_observed_test", "headgate_fan_out_test", "headgate_relay_test",
           "headgate_relay_kill_test", "headgate_permify_database_test", "headgate_tokens_test")
# What gets bytes from outside, or owns memory by hand.
MEMORY = ("headgate_base_test", "headgate_sinks_encoding_test", "headgate_relay_hub_test", "headgate_relay_delivery_test",
          "headgate_relay_config_test", "headgate_relay_tokens_test", "headgate_engine_storage_test",
          "headgate_engine_feed_test", "headgate_engine_schema_test", "headgate_engine_cel_test", "fuzz_corpus_test")
# What shares state between threads and needs no gRPC, whose library is built without the sanitizer.
THREADS = ("headgate_base_test", "headgate_relay_hub_test", "headgate_relay_delivery_test", "headgate_relay_tokens_test",
           "headgate_engine_storage_test", "headgate_engine_feed_test")

STAGES = {
    "debug": Stage("debug", (), (), True, 16),
    "release": Stage("release", PROGRAMS + SHIPPED_TARGETS, SHIPPED, True, 8),
    "clang": Stage("clang", (), None, False, 4),
    "asan-ubsan": Stage("asan-ubsan", MEMORY, MEMORY, False, 9),
    "tsan": Stage("tsan", THREADS, THREADS, False, 5),
}


def selection(stage):
    """Words for ctest."""
    return ["-R", "^(" + "|".join(map(re.escape, stage.tests)) + ")$"] if stage.tests else []


def pace(done):
    """How much longer this machine needs than the minutes above, by the stages that ran: [(stage, its minutes here)]."""
    expected = sum(stage.minutes for stage, _ in done)
    return max(1.0, sum(took for _, took in done) / expected) if expected else 1.0


def fits(stage, spent_minutes, minutes, pace_here=1.0):
    """False when the stage would probably end behind the limit; no limit is None."""
    return minutes is None or spent_minutes + stage.minutes * pace_here <= minutes
