"""The test command behind `ops/dev test` and `ops/dev bench`.

One set of real servers is started for the whole run; test programs find it in HEADGATE_TEST_REDIS, _NATS and _KAFKA and
make their own keys, streams and topics in it. Whatever happens, everything is stopped again at the end.
The last line is `N passed, N failed, N skipped` over test cases; the exit code is 0 only without failures.
With --stages the run builds and tests one preset after the other (stages.py), and the last line counts them all.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import checks  # noqa: E402
import results  # noqa: E402
import sanitizers  # noqa: E402
import stages  # noqa: E402

# No PostgreSQL: transaction ids and snapshots are shared by all databases of a server, so each program that needs one
# starts a server of its own (tests/support/postgres.h).
SERVERS = ("REDIS", "NATS", "KAFKA")
CI = os.environ.get("CI") == "true"
# Labels that take too long for every change, or measure instead of test.
EXTRA_LABELS = ("long", "bench", "fuzz")


def say(text):
    print(text, flush=True)


class Run:
    """One run: its folder, its servers, its processes, its tally."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.begin = time.monotonic()
        self.tally = results.Tally()
        self.folder = None
        self.environment = dict(os.environ)
        self.children = []
        self.stages_done = []  # with the minutes that each took

    # -- servers

    def services(self, *words):
        environment = {k: v for k, v in os.environ.items() if k != "HEADGATE_TEST_RUN"}
        return subprocess.run([os.path.join(ROOT, "ops/services/services"), *words], env=environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False, start_new_session=True)

    def start_servers(self):
        begin = time.monotonic()
        answer = self.services("start", "--dir", self.folder, "--only", ",".join(SERVERS).lower())
        found = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
        there = []
        for server in SERVERS:
            address = found.get("HEADGATE_" + server, "")
            self.environment["HEADGATE_TEST_" + server] = address
            if address:
                there.append(server.lower())
                self.tally.ok()
            elif CI or server != "KAFKA":
                self.tally.fail(f"services: {server.lower()}", "could not be started; its tests cannot run for real")
            else:
                self.tally.skip(f"services: {server.lower()}", "could not be had on this machine (see above)")
        say(f"servers: {', '.join(there) or 'none'} ({time.monotonic() - begin:.0f} s)")

    def stop_servers(self):
        if self.folder and self.services("stop", "--dir", self.folder).returncode != 0:
            self.tally.fail("services: stop", "a server had to be killed or is still there")

    # -- ctest

    def ctest(self, build, *words, **options):
        return subprocess.Popen(["ctest", "--test-dir", build, *words], stdin=subprocess.DEVNULL, text=True,
                                errors="replace", start_new_session=True, env=self.environment, **options)

    def selection(self):
        words = []
        if self.arguments.bench:
            words += ["-L", "bench"]
        else:
            skipped = [label for label in EXTRA_LABELS if not (label == "long" and self.arguments.long)]
            words += ["-LE", "^(" + "|".join(skipped) + ")$"]
        if self.arguments.filter:
            words += ["-R", self.arguments.filter]
        return words

    def count(self, build, selection):
        process = self.ctest(build, "--show-only=json-v1", *selection, stdout=subprocess.PIPE)
        text, _ = process.communicate()
        return len(json.loads(text).get("tests", []))

    def run_ctest(self, build, selection, label):
        """`label` tells the stages of a run apart; empty when there is only one."""
        total = self.count(build, selection)
        if not total:
            return
        result_file = os.path.join(self.folder, f"results{label}.tsv")
        junit = os.path.join(self.folder, f"ctest{label}.xml")
        self.environment["HEADGATE_TEST_RESULTS"] = result_file
        say(f"running {total} suites …")
        process = self.ctest(build, "-j2" if not self.arguments.bench else "-j1", "--timeout", "600", "--output-on-failure",
                             "--test-output-size-passed", "1000000", "--test-output-size-failed", "1000000",
                             "--output-junit", junit, *(["-V"] if self.arguments.bench else []), *selection,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.children.append(process)
        self.follow(process, total)
        process.wait()
        if not os.path.exists(junit):
            self.tally.fail(f"ctest{label}", f"ended with code {process.returncode} and without results")
            return
        results.add_ctest_results(self.tally, results.read_junit(junit),
                                  results.read_result_file(result_file, self.tally))

    def follow(self, process, total):
        """Failures at once, progress now and then; a terminal sees every program."""
        begin = last = time.monotonic()
        done = 0
        for line in process.stdout:
            if self.arguments.bench:
                sys.stdout.write(re.sub(r"^\d+: ", "", line))
                continue
            match = re.match(r"\s*\d+/\d+ Test +#\d+: (\S+) .*?(Passed|\*\*\*[A-Z][A-Za-z ]*?)  .*?([\d.]+) sec", line)
            if not match:
                continue
            done += 1
            now = time.monotonic()
            if match[2] != "Passed":
                say(f"  {match[1]}: {match[2].strip('*')} after {match[3]} s")
            if now - last > 20:
                last = now
                say(f"  {done} of {total}, {now - begin:.0f} s")

    # -- stages

    def run_quickstart(self, build):
        checks.run_quickstart(self.tally, ROOT, build, self.arguments.filter, self.environment, say)

    def run_stage(self, stage):
        spent = (time.monotonic() - self.begin) / 60
        pace = stages.pace(self.stages_done)
        if not stages.fits(stage, spent, self.arguments.minutes, pace):
            reason = (f"NOT RUN: {spent:.0f} of {self.arguments.minutes:g} minutes are over, and it takes about "
                      f"{stage.minutes * pace:.0f} on this machine")
            say(f"\nstage {stage.preset}: {reason}")
            self.tally.skip(f"stage {stage.preset}", reason)
            return
        before = self.tally.passed, self.tally.failed
        say(f"\nstage {stage.preset}:")
        build = os.path.join(ROOT, "build", stage.preset)
        if not self.build_stage(stage):
            return
        if stage.tests is not None:
            self.run_ctest(build, self.selection() + stages.selection(stage), "-" + stage.preset)
        if stage.quickstart:
            self.run_quickstart(build)
        took = (time.monotonic() - self.begin) / 60 - spent
        self.stages_done.append((stage, took))
        say(f"stage {stage.preset}: {self.tally.passed - before[0]} passed, {self.tally.failed - before[1]} failed, "
            f"{took:.1f} minutes")

    def build_stage(self, stage):
        """Progress goes to our own standard error; what failed is there, too."""
        answer = subprocess.Popen([os.path.join(ROOT, "ops/dev"), "build", stage.preset, *stage.targets],
                                  stdin=subprocess.DEVNULL, start_new_session=True)
        self.children.append(answer)
        if answer.wait() != 0:
            self.tally.fail(f"build {stage.preset}", "see above; its output is "
                            f"build/{stage.preset}/ops-dev.log")
            return False
        self.tally.ok()
        return True

    # -- the rest

    def kill_leftovers(self):
        """Every process of the run carries HEADGATE_TEST_RUN; none may outlive its test. Returns what had to be killed."""
        mark = f"HEADGATE_TEST_RUN={self.folder}".encode()
        left = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as environ:
                    if mark not in environ.read().split(b"\0") or int(pid) == os.getpid():
                        continue
                with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                    line = cmdline.read().replace(b"\0", b" ").decode(errors="replace")[:200]
                os.kill(int(pid), signal.SIGKILL)
                left.append(f"killed {pid}: {line}")
            except OSError:
                continue
        return left

    def check_nothing_is_left(self):
        left = self.kill_leftovers()
        if left:
            self.tally.fail("nothing is left running", "\n".join(left))
        else:
            self.tally.ok()

    def execute(self):
        self.folder = tempfile.mkdtemp(prefix="headgate-test-")
        with open(f"/proc/{os.getpid()}/stat", encoding="utf-8") as stat:
            started = stat.read().split()[21]
        with open(os.path.join(self.folder, ".owner"), "w", encoding="utf-8") as owner:
            owner.write(f"{os.getpid()} {started}\n")
        self.environment["HEADGATE_TEST_RUN"] = self.folder
        reports = os.path.join(self.folder, "sanitizers")
        os.mkdir(reports)
        self.environment |= sanitizers.environment(reports, os.environ)
        self.services("clean-stale")
        if not self.arguments.bench:
            checks.run_all(self.tally, ROOT, self.arguments.filter, CI, say)
        self.start_servers()
        if self.arguments.stages:
            for name in self.arguments.stages.split(","):
                self.run_stage(stages.STAGES[name])
        else:
            self.run_ctest(self.arguments.build, self.selection(), "")
            if not self.arguments.bench:
                self.run_quickstart(self.arguments.build)
        self.check_nothing_is_left()
        sanitizers.add_reports(self.tally, reports)

    def clean_up(self):
        for process in self.children:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except OSError:
                pass
        self.kill_leftovers()
        self.stop_servers()
        if self.folder and not (self.tally.failed and os.environ.get("HEADGATE_TEST_KEEP")):
            shutil.rmtree(self.folder, ignore_errors=True)

    def summarise(self):
        tally = self.tally
        for name, text in tally.failures:
            say(f"\nFAILED {name}\n{text}")
        if tally.servers:
            say("\nran against real servers:")
            for server, programs in sorted(tally.servers.items()):
                say(f"  {server}: {len(programs)} suite{'s' if len(programs) > 1 else ''}")
        if tally.skips:
            say("\nSKIPPED, so NOT tested here:")
            for name, reason in tally.skips:
                say(f"  {name}: {reason}")
        say("")
        say(tally.closing_line())
        return 1 if tally.failed or not tally.passed else 0


def main():
    parser = argparse.ArgumentParser(prog="ops/dev test")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--build", type=os.path.abspath)
    what.add_argument("--stages")
    parser.add_argument("--minutes", type=float, help="stages that would end later are named as not run")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--bench", action="store_true")
    parser.add_argument("filter", nargs="?")
    run = Run(parser.parse_args())
    if run.arguments.long:
        run.environment["HEADGATE_TEST_LONG"] = "1"

    def interrupted(number, _):
        raise KeyboardInterrupt(f"signal {number}")

    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    begin = time.monotonic()
    try:
        run.execute()
    except KeyboardInterrupt:
        run.tally.fail("the run", "was interrupted")
    finally:
        # A second Ctrl-C must not leave servers behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        run.clean_up()
    say(f"\n{(time.monotonic() - begin) / 60:.1f} minutes")
    sys.exit(run.summarise())


if __name__ == "__main__":
    main()
